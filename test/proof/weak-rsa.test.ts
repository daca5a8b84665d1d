import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { rsaWeakness } from '../../src/proof/weak-rsa.js';
import { bitsFrom } from './sample-keys.js';

/** Whether 2 and 3 are no witnesses against n: enough to make test moduli. */
function isProbablePrime(n: bigint): boolean {
  if (n % 2n === 0n) return false;
  const power = (base: bigint, exponent: bigint): bigint => {
    let result = 1n;
    for (let b = base % n, e = exponent; e > 0n; e >>= 1n, b = (b * b) % n) if (e & 1n) result = (result * b) % n;
    return result;
  };
  return [2n, 3n].every((base) => power(base, n - 1n) === 1n);
}

function nextPrime(from: bigint): bigint {
  let n = from | 1n;
  while (!isProbablePrime(n)) n += 2n;
  return n;
}

/** A prime k·M + (65537^a mod M), M the product of the first `count` primes: how the flawed library made them. */
function rocaPrime(label: string, bits: number, count: number): bigint {
  const primes: bigint[] = [];
  for (let n = 2n; primes.length < count; n++) if (primes.every((p) => n % p !== 0n)) primes.push(n);
  const product = primes.reduce((m, p) => m * p, 1n);
  const freeBits = bits - product.toString(2).length;
  for (let i = 0; ; i++) {
    let residue = 1n;
    for (let a = bitsFrom(`${label}a${i}`, 16); a > 0n; a--) residue = (residue * 65537n) % product;
    const k = (1n << BigInt(freeBits)) | bitsFrom(`${label}k${i}`, freeBits);
    const candidate = k * product + residue;
    if (isProbablePrime(candidate)) return candidate;
  }
}

const sound = (bits: number) => {
  const jwk = generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({ format: 'jwk' });
  return BigInt(`0x${Buffer.from(jwk.n ?? '', 'base64url').toString('hex')}`);
};

test.each([2048, 3072])('rsaWeakness finds nothing wrong with a generated %i-bit modulus', (bits) => {
  expect(rsaWeakness(sound(bits))).toBeUndefined();
});

test('rsaWeakness recognises a modulus made as the ROCA library made them', () => {
  const modulus = rocaPrime('p', 512, 71) * rocaPrime('q', 512, 71);
  expect(rsaWeakness(modulus)).toContain('ROCA');
});

test.each([2, 3, 7, 751, 997])('rsaWeakness finds the factor %i', (factor) => {
  expect(rsaWeakness(sound(2048) * BigInt(factor))).toContain(`divisible by ${factor}`);
});

test('rsaWeakness finds the factors of a square and of two neighbouring primes', () => {
  const p = nextPrime((1n << 511n) | bitsFrom('fermat', 511));
  expect(rsaWeakness(p * p)).toContain('Fermat');
  expect(rsaWeakness(p * nextPrime(p + 2n))).toContain('Fermat');
});

/** (a − b)(a + b), which Fermat's method meets in round a − ⌈√N⌉ + 1. */
test('rsaWeakness tries exactly a hundred rounds', () => {
  // A fixed seed: now and then a random one has a second, closer pair of factors.
  // Numbers near 2^400 whose product has its root 99 or 100 below their mean: b² ≈ 2·a·rounds.
  const found = fc.sample(fc.bigInt({ min: 1n << 398n, max: 1n << 399n }), { numRuns: 40, seed: 1 }).flatMap((seed) => {
    const a = seed * 2n;
    return [95n, 99n, 102n, 120n].map((rounds) => {
      const b = sqrt(2n * a * rounds) | 1n;
      const modulus = (a - b) * (a + b);
      const round = a - ceilSqrt(modulus) + 1n;
      return { round, weakness: rsaWeakness(modulus) };
    });
  });
  for (const { round, weakness } of found) {
    // Such composites may have small factors, which are reported first.
    if (weakness?.includes('divisible')) continue;
    expect([round, weakness?.includes('Fermat') ?? false]).toEqual([round, round <= 100n]);
  }
  expect(found.some(({ weakness }) => weakness?.includes('Fermat'))).toBe(true);
});

function sqrt(n: bigint): bigint {
  let low = 0n;
  let high = 1n << BigInt(n.toString(2).length);
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle * middle <= n) low = middle;
    else high = middle;
  }
  return low;
}

function ceilSqrt(n: bigint): bigint {
  const root = sqrt(n);
  return root * root === n ? root : root + 1n;
}
