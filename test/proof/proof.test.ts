import { constants, createHash, generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { clientSigningAlgorithms, defaultKeyPolicy, proveKey } from '../../src/proof.js';
import { encodePem } from '../../src/x509/pem.js';
import { goldenPresent, readGolden } from '../x509/golden.js';
import { csrOf, type Pair, pairs, pemOf, rsaPem, spkiOf } from './sample-keys.js';

const challenge = 'jane@example.com';
const hashes: Record<string, string | null> = {
  p256: 'sha256',
  p384: 'sha384',
  p521: 'sha512',
  rsa2048: 'sha256',
  ed25519: null,
};
const csrOids: Record<string, string> = {
  p256: '1.2.840.10045.4.3.2',
  p384: '1.2.840.10045.4.3.3',
  p521: '1.2.840.10045.4.3.4',
  rsa2048: '1.2.840.113549.1.1.11',
  ed25519: '1.3.101.112',
};
const kinds = Object.entries(pairs).map(([name, pair]): [string, Pair] => [name, pair]);
const proofBy = (name: string, pair: Pair, text = challenge) =>
  sign(hashes[name] ?? null, Buffer.from(text), pair.privateKey);
const prove = (key: string | Uint8Array, proof: Uint8Array, policy = defaultKeyPolicy) =>
  proveKey({ kind: 'publicKey', key, proof }, challenge, policy);
const proveCsr = (csr: string | Uint8Array, policy = defaultKeyPolicy) =>
  proveKey({ kind: 'csr', csr: typeof csr === 'string' ? Buffer.from(csr) : csr }, challenge, policy);
const refusal = (code: string, part = '') => expect.objectContaining({ code, detail: expect.stringContaining(part) });

describe('proveKey with a public key', () => {
  test.each(kinds)('accepts %s as PEM and as DER with its own hash', async (name, pair) => {
    const proof = proofBy(name, pair);
    const spki = spkiOf(pair.publicKey);
    const proven = await prove(pemOf(pair.publicKey), proof);
    expect(Buffer.from(proven.spki)).toEqual(spki);
    expect(proven.fingerprint).toBe(createHash('sha256').update(spki).digest('hex'));
    await expect(prove(spki, proof)).resolves.toMatchObject({ algorithm: proven.algorithm });
    await expect(prove(Buffer.from(pemOf(pair.publicKey)), proof)).resolves.toBeDefined();
  });

  test.each(kinds)('refuses a proof of %s over another text', async (name, pair) => {
    const proof = proofBy(name, pair, 'john@example.com');
    await expect(prove(pemOf(pair.publicKey), proof)).rejects.toEqual(
      refusal('PROOF_INVALID', 'over "jane@example.com"'),
    );
  });

  test.each(kinds.filter(([name]) => name.startsWith('p')))(
    'accepts r‖s from %s',
    async (name, { publicKey, privateKey }) => {
      const proof = sign(hashes[name], Buffer.from(challenge), { key: privateKey, dsaEncoding: 'ieee-p1363' });
      await expect(prove(pemOf(publicKey), proof)).resolves.toBeDefined();
    },
  );

  test('accepts PKCS#1 and gives its SubjectPublicKeyInfo', async () => {
    const { publicKey } = pairs.rsa2048;
    const pkcs1 = String(publicKey.export({ type: 'pkcs1', format: 'pem' }));
    const proven = await prove(pkcs1, proofBy('rsa2048', pairs.rsa2048));
    expect(Buffer.from(proven.spki)).toEqual(spkiOf(publicKey));
  });

  test.each<[string, Pair, string | null]>([
    ['P-256 with SHA-512', pairs.p256, 'sha512'],
    ['P-384 with SHA-256', pairs.p384, 'sha256'],
    ['P-521 with SHA-256', pairs.p521, 'sha256'],
    ['RSA with SHA-512', pairs.rsa2048, 'sha512'],
  ])('refuses a proof by %s', async (_, pair, hash) => {
    const proof = sign(hash, Buffer.from(challenge), pair.privateKey);
    await expect(prove(pemOf(pair.publicKey), proof)).rejects.toEqual(refusal('PROOF_INVALID'));
  });

  test('refuses an RSA-PSS proof', async () => {
    const { publicKey, privateKey } = pairs.rsa2048;
    const proof = sign('sha256', Buffer.from(challenge), { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING });
    await expect(prove(pemOf(publicKey), proof)).rejects.toEqual(refusal('PROOF_INVALID', 'PKCS#1 v1.5'));
  });

  test('asks for a proof when there is none', async () => {
    await expect(prove(pemOf(pairs.p256.publicKey), new Uint8Array())).rejects.toEqual(
      refusal('PROOF_MISSING', 'SHA-256'),
    );
  });

  test('never takes a proof over the empty text', async () => {
    const proof = proofBy('p256', pairs.p256, '');
    const request = { kind: 'publicKey', key: pemOf(pairs.p256.publicKey), proof } as const;
    await expect(proveKey(request, '', defaultKeyPolicy)).rejects.toEqual(refusal('CLAIM_MISSING'));
  });
});

const pairOf = (curve: string) => pemOf(generateKeyPairSync('ec', { namedCurve: curve }).publicKey);
const offCurve = (pair: Pair) => {
  const der = spkiOf(pair.publicKey);
  der[der.length - 1] = (der[der.length - 1] ?? 0) ^ 1;
  return encodePem('PUBLIC KEY', der);
};

test.each<[string, string | Uint8Array, string, string]>([
  ['nothing', '', 'KEY_MISSING', 'neither'],
  ['the word garbage', 'garbage', 'KEY_MALFORMED', 'expected PEM'],
  ['bytes that are no DER', Buffer.from('garbage'), 'KEY_MALFORMED', 'SubjectPublicKeyInfo'],
  ['base64 of DER as text', spkiOf(pairs.p256.publicKey).toString('base64'), 'KEY_MALFORMED', 'expected PEM'],
  ['a certificate', encodePem('CERTIFICATE', Buffer.from('x')), 'KEY_MALFORMED', 'label "CERTIFICATE"'],
  [
    'a private key',
    String(pairs.p256.privateKey.export({ type: 'pkcs8', format: 'pem' })),
    'KEY_MALFORMED',
    'found a private key',
  ],
  [
    'a byte after the key',
    encodePem('PUBLIC KEY', Buffer.concat([spkiOf(pairs.p256.publicKey), Buffer.alloc(1)])),
    'KEY_MALFORMED',
    '1 bytes follow',
  ],
  ['a P-256 point off the curve', offCurve(pairs.p256), 'KEY_MALFORMED', 'not a point on the curve'],
  ['a P-521 point off the curve', offCurve(pairs.p521), 'KEY_MALFORMED', 'not a point on the curve'],
  ['P-224', pairOf('secp224r1'), 'KEY_WEAK', 'P-224'],
  ['secp256k1', pairOf('secp256k1'), 'KEY_WEAK', 'secp256k1'],
  ['Ed448', pemOf(generateKeyPairSync('ed448').publicKey), 'KEY_UNSUPPORTED', 'Ed448'],
  ['X25519', pemOf(generateKeyPairSync('x25519').publicKey), 'KEY_WEAK', 'cannot sign'],
  ['RSA-PSS', pemOf(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey), 'KEY_UNSUPPORTED', 'RSA-PSS'],
  ['RSA 1024', pemOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey), 'KEY_WEAK', '1024 bits'],
  ['RSA 2056', rsaPem((1n << 2056n) - 1n), 'KEY_WEAK', '2056 bits'],
  ['RSA 16384', rsaPem((1n << 16384n) - 1n), 'KEY_WEAK', '16384 bits'],
  ['RSA with exponent 3', rsaPem((1n << 2048n) - 1n, 3n), 'KEY_WEAK', 'exponent is 3'],
  ['RSA with a huge exponent', rsaPem((1n << 2048n) - 1n, 1n << 512n), 'KEY_WEAK', 'a number of 65 bytes'],
  ['an even RSA modulus', rsaPem((1n << 2048n) - 2n), 'KEY_WEAK', 'divisible by 2'],
  [
    'an Ed25519 point of order 1',
    encodePem('PUBLIC KEY', Buffer.from(`302a300506032b657003210001${'00'.repeat(31)}`, 'hex')),
    'KEY_WEAK',
    'small order',
  ],
])('proveKey refuses %s', async (_, key, code, part) => {
  await expect(prove(key, Buffer.alloc(64, 1))).rejects.toEqual(refusal(code, part));
});

describe('proveKey with a CSR', () => {
  test.each(kinds)('accepts one signed by its %s key, whatever it asks for', async (name, pair) => {
    const csr = csrOf(pair, { hash: hashes[name] ?? null, algorithm: csrOids[name] ?? '' });
    const proven = await proveCsr(`some text\n${csr}`);
    expect(Buffer.from(proven.spki)).toEqual(spkiOf(pair.publicKey));
  });

  const good = csrOf(pairs.p256, { hash: 'sha256', algorithm: '1.2.840.10045.4.3.2' });

  test('accepts the label NEW CERTIFICATE REQUEST', async () => {
    await expect(proveCsr(good.replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'))).resolves.toBeDefined();
  });

  test.each<[string, string | Uint8Array, string, string]>([
    ['DER', Buffer.from(good.split('\n').slice(1, -2).join(''), 'base64'), 'CSR_MALFORMED', 'expected PEM'],
    ['the word garbage', 'garbage', 'CSR_MALFORMED', 'expected PEM'],
    ['the label CERTIFICATE', good.replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'), 'CSR_MALFORMED', 'label'],
    [
      'one signed by another key',
      csrOf(
        { publicKey: pairs.p256.publicKey, privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey },
        { hash: 'sha256', algorithm: '1.2.840.10045.4.3.2' },
      ),
      'PROOF_INVALID',
      'does not verify',
    ],
    [
      'P-256 with SHA-384',
      csrOf(pairs.p256, { hash: 'sha384', algorithm: '1.2.840.10045.4.3.3' }),
      'SIGNING_ALGORITHM_NOT_PERMITTED',
      'ECDSA with SHA-384; expected ECDSA P-256 with SHA-256',
    ],
    [
      'RSA with SHA-512',
      csrOf(pairs.rsa2048, { hash: 'sha512', algorithm: '1.2.840.113549.1.1.13' }),
      'SIGNING_ALGORITHM_NOT_PERMITTED',
      'SHA-512',
    ],
    [
      'RSA-PSS',
      csrOf(pairs.rsa2048, {
        hash: 'sha256',
        algorithm: '1.2.840.113549.1.1.10',
        padding: constants.RSA_PKCS1_PSS_PADDING,
      }),
      'CSR_ALGORITHM_UNSUPPORTED',
      'RSA-PSS',
    ],
  ])('refuses %s', async (_, csr, code, part) => {
    await expect(proveCsr(csr)).rejects.toEqual(refusal(code, part));
  });

  test('answers any bytes and any mutation with an AppError, unless the proof still holds', async () => {
    const der = Buffer.from(good.split('\n').slice(1, -2).join(''), 'base64');
    const mutated = fc.tuple(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, flip]) => {
      const copy = Buffer.from(der);
      copy[at] = (copy[at] ?? 0) ^ flip;
      return copy;
    });
    await fc.assert(
      fc.asyncProperty(fc.oneof(mutated, fc.uint8Array({ maxLength: 300 })), async (bytes) => {
        await expect(proveCsr(encodePem('CERTIFICATE REQUEST', bytes))).rejects.toBeInstanceOf(AppError);
      }),
      { numRuns: 300 },
    );
  });
});

test('proveKey answers any key and any proof with an AppError', async () => {
  const der = spkiOf(pairs.p384.publicKey);
  const mutated = fc.tuple(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, flip]) => {
    const copy = Buffer.from(der);
    copy[at] = (copy[at] ?? 0) ^ flip;
    return copy;
  });
  const anyKey = fc.oneof(mutated, fc.uint8Array({ maxLength: 200 }), fc.string(), fc.constant(der));
  await fc.assert(
    fc.asyncProperty(anyKey, fc.uint8Array({ maxLength: 140 }), async (key, proof) => {
      await expect(prove(key, proof)).rejects.toBeInstanceOf(AppError);
    }),
    { numRuns: 300 },
  );
});

describe('clientSigningAlgorithms', () => {
  test('narrows what is accepted', async () => {
    const policy = clientSigningAlgorithms(['ecdsa-sha2-384-nistp384', 'ed25519-ph']);
    await expect(prove(pemOf(pairs.p384.publicKey), proofBy('p384', pairs.p384), policy)).resolves.toBeDefined();
    await expect(
      prove(pemOf(pairs.ed25519.publicKey), proofBy('ed25519', pairs.ed25519), policy),
    ).resolves.toBeDefined();
    await expect(prove(pemOf(pairs.p256.publicKey), proofBy('p256', pairs.p256), policy)).rejects.toEqual(
      refusal('SIGNING_ALGORITHM_NOT_PERMITTED', 'this server takes ECDSA P-384, Ed25519'),
    );
  });

  test('names the valid ones when it meets another', () => {
    expect(() => clientSigningAlgorithms(['ed25519', 'dsa'])).toThrow(
      refusal('STARTUP', '"dsa"; expected some of ecdsa-sha2-256'),
    );
  });

  test('means the default when the list is empty', () => {
    expect(clientSigningAlgorithms([])).toBe(defaultKeyPolicy);
  });
});

describe(goldenPresent ? 'as a real Fulcio answers' : 'skipped: ../shared/golden is not here', () => {
  interface Vector {
    readonly name: string;
    readonly request: {
      readonly token?: { readonly claims?: { readonly email?: string } };
      readonly publicKey?: string;
      readonly publicKeyDerBase64?: string;
      readonly proofOfPossession?: string;
      readonly certificateSigningRequest?: string | { readonly base64: string };
    };
    readonly v1: { readonly status: number; readonly body: string };
  }
  const all: Vector[] = goldenPresent
    ? [...readGolden('errors.json').requests, ...readGolden('accepted.json').requests]
    : [];
  const vectors = all
    .filter(({ name }) => /^(key|pop|csr)-/.test(name))
    .map((vector): [string, Vector] => [vector.name, vector]);
  const cases = goldenPresent ? test : test.skip;
  const run = ({ request }: Vector) => {
    const { certificateSigningRequest: csr } = request;
    if (csr !== undefined) return proveCsr(typeof csr === 'string' ? csr : Buffer.from(csr.base64, 'base64'));
    const der = request.publicKeyDerBase64;
    const key = der === undefined ? (request.publicKey ?? '') : Buffer.from(der, 'base64');
    return prove(key, Buffer.from(request.proofOfPossession ?? '', 'base64'));
  };

  cases.each(vectors.length > 0 ? vectors : [['none', undefined]])('%s', async (_, vector) => {
    if (vector === undefined) return;
    if (vector.v1.status === 201) {
      await expect(run(vector)).resolves.toBeDefined();
      return;
    }
    const sentence = String(JSON.parse(vector.v1.body).message).split(':')[0];
    await expect(run(vector)).rejects.toEqual(
      expect.objectContaining({ grpcCode: 3, publicMessage: expect.stringContaining(sentence ?? '') }),
    );
  });
});
