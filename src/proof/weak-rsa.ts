/**
 * Tests for RSA moduli that can be factored: what a certificate authority can see without the private key. All are exact
 * integer arithmetic on public values; together they take well under a millisecond.
 */

/** Why the modulus is weak, for a client to read, or undefined. */
export function rsaWeakness(modulus: bigint): string | undefined {
  const factor = smallFactor(modulus);
  if (factor !== undefined) return `its modulus is divisible by ${factor}`;
  if (hasRocaFingerprint(modulus)) {
    return 'its modulus was made by the flawed generator of certain smart cards and TPMs (ROCA, CVE-2017-15361)';
  }
  if (hasCloseFactors(modulus, fermatRounds)) {
    return `its two prime factors are so close that Fermat's method finds them (${fermatRounds} rounds)`;
  }
  return undefined;
}

const smallPrimeLimit = 1000;
const fermatRounds = 100;

const smallPrimes = primesBelow(smallPrimeLimit);
/** Products of small primes below 2^53: one long division then serves several primes. */
const smallPrimeGroups = groupPrimes(smallPrimes);

function primesBelow(limit: number): readonly number[] {
  const primes: number[] = [];
  for (let n = 2; n < limit; n++) {
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  }
  return primes;
}

interface PrimeGroup {
  readonly product: bigint;
  readonly primes: readonly number[];
}

function groupPrimes(primes: readonly number[]): readonly PrimeGroup[] {
  const groups: { product: number; primes: number[] }[] = [];
  for (const prime of primes) {
    const last = groups.at(-1);
    if (last !== undefined && last.product * prime <= Number.MAX_SAFE_INTEGER) {
      last.product *= prime;
      last.primes.push(prime);
    } else groups.push({ product: prime, primes: [prime] });
  }
  return groups.map(({ product, primes: members }) => ({ product: BigInt(product), primes: members }));
}

function smallFactor(modulus: bigint): number | undefined {
  for (const { product, primes } of smallPrimeGroups) {
    const rest = Number(modulus % product);
    const factor = primes.find((prime) => rest % prime === 0);
    if (factor !== undefined) return factor;
  }
  return undefined;
}

/**
 * Primes p = k·M + (65537^a mod M), M a product of the first primes: so a modulus of two of them is a power of 65537
 * modulo every prime that divides M (Nemec et al., "The Return of Coppersmith's Attack", CCS 2017, Section 2). All key
 * sizes share the primes up to 167; a sound modulus passes all these tests by chance once in about 2^27.
 */
const rocaPrimeLimit = 168;
const rocaGenerator = 65537;
const rocaResidues: readonly { prime: number; isPower: Uint8Array }[] = smallPrimes
  .filter((prime) => prime > 2 && prime < rocaPrimeLimit)
  .map((prime) => ({ prime, isPower: powersModulo(rocaGenerator, prime) }))
  // Where 65537 generates every residue there is nothing to learn.
  .filter(({ prime, isPower }) => isPower.reduce((sum, bit) => sum + bit, 0) < prime - 1);
const rocaProduct = rocaResidues.reduce((product, { prime }) => product * BigInt(prime), 1n);

function powersModulo(base: number, prime: number): Uint8Array {
  const isPower = new Uint8Array(prime);
  for (let power = 1; isPower[power] === 0; power = (power * (base % prime)) % prime) isPower[power] = 1;
  return isPower;
}

function hasRocaFingerprint(modulus: bigint): boolean {
  const rest = modulus % rocaProduct;
  return rocaResidues.every(({ prime, isPower }) => isPower[Number(rest % BigInt(prime))] === 1);
}

/** Squares leave few remainders modulo these; only 1 in about 100 other numbers passes all four. */
const squareModuli = [64, 63, 65, 11].map((m) => {
  const isSquare = new Uint8Array(m);
  for (let i = 0; i < m; i++) isSquare[(i * i) % m] = 1;
  return { m, isSquare };
});
const squareModulus = squareModuli.reduce((product, { m }) => product * m, 1);

/**
 * Fermat's factorisation: N = a² − b² with a counting up from ⌈√N⌉. Remainders run along as plain numbers, so that a big
 * square root is taken only for the few candidates that may be squares.
 */
function hasCloseFactors(modulus: bigint, rounds: number): boolean {
  const root = integerSquareRoot(modulus);
  let a = root * root === modulus ? root : root + 1n;
  let aRest = Number(a % BigInt(squareModulus));
  const firstRest = Number((a * a - modulus) % BigInt(squareModulus));
  let rest = firstRest;
  for (let round = 0; round < rounds; round++) {
    if (mayBeSquare(rest) && isSquare(a * a - modulus)) return true;
    rest = (rest + 2 * aRest + 1) % squareModulus;
    aRest = (aRest + 1) % squareModulus;
    a += 1n;
  }
  return false;
}

function mayBeSquare(rest: number): boolean {
  return squareModuli.every(({ m, isSquare: residues }) => residues[rest % m] === 1);
}

function isSquare(value: bigint): boolean {
  const root = integerSquareRoot(value);
  return root * root === value;
}

/** ⌊√value⌋ by Newton's method from above, which falls monotonically until it arrives. */
function integerSquareRoot(value: bigint): bigint {
  if (value < 2n) return value;
  const bits = value.toString(16).length * 4;
  for (let root = 1n << BigInt(Math.ceil(bits / 2)); ; ) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}
