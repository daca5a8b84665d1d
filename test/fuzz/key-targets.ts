import { sign } from 'node:crypto';
import { createRoot } from '../../src/ca/create.js';
import { decodeSctList } from '../../src/ct/sct.js';
import { TlsDecodeError } from '../../src/ct/tls.js';
import { DiscoveryError, parseDiscovery } from '../../src/identity/discovery.js';
import { parseJwks } from '../../src/identity/jwks.js';
import { defaultKeyPolicy, proveKey } from '../../src/proof.js';
import { parseCertificate } from '../../src/x509/certificate.js';
import { DerError, encodeBitString, encodeElement, encodeOid, encodeSequence } from '../../src/x509/der.js';
import { decodePem, decodePemAll, encodePem, PemError, pemLabel } from '../../src/x509/pem.js';
import { csrOf, derInteger, type Pair, pairs, spkiOf } from '../proof/sample-keys.js';
import { jwks } from './corpus.js';
import { jsonText, mutateBytes, mutateJson, mutateText } from './mutate.js';
import { mutateDer } from './mutate-der.js';
import type { Random } from './random.js';
import { bytesOf, type Input, mayFail, must, type Target, textOf } from './target.js';

const algorithms: Readonly<Record<keyof typeof pairs, readonly [string | null, string]>> = {
  p256: ['sha256', '1.2.840.10045.4.3.2'],
  p384: ['sha384', '1.2.840.10045.4.3.3'],
  p521: ['sha512', '1.2.840.10045.4.3.4'],
  rsa2048: ['sha256', '1.2.840.113549.1.1.11'],
  ed25519: [null, '1.3.101.112'],
};
const kinds = Object.keys(pairs) as (keyof typeof pairs)[];
/** One PEM request for each kind of key. */
export const goodCsrs: readonly string[] = kinds.map((kind) => {
  const [hash, algorithm] = algorithms[kind];
  return csrOf(pairs[kind], { hash, algorithm });
});
const spkis = kinds.map((kind) => spkiOf(pairs[kind].publicKey));
const challenge = 'jane@example.com';
const proofs = kinds.map((kind) => sign(algorithms[kind][0], Buffer.from(challenge), (pairs[kind] as Pair).privateKey));

const fullJwks = {
  keys: [
    ...(jwks.keys as object[]),
    ...kinds.map((kind) => ({ ...pairs[kind].publicKey.export({ format: 'jwk' }), kid: kind })),
  ],
};
const discovery = {
  issuer: 'https://id.example',
  jwks_uri: 'https://id.example/keys',
  id_token_signing_alg_values_supported: ['RS256', 'ES256'],
};

export const reencodePem = (random: Random, label: string, der: Uint8Array): string => {
  const pem = encodePem(label, der);
  if (random.chance(0.8)) return pem;
  return random.pick([
    pem.replaceAll('\n', '\r\n'),
    pem.replaceAll('\n', ' '),
    `x\n${pem}`,
    pem + pem,
    mutateText(random, pem),
  ]);
};

/** A CSR whose DER was changed, as PEM. */
export function hostileCsr(random: Random): string {
  const { label, der } = decodePem(random.pick(goodCsrs), ['CERTIFICATE REQUEST']);
  return reencodePem(random, label, mutateDer(random, der));
}

/** A public key whose DER was changed or invented. */
export function hostileSpki(random: Random): Buffer {
  if (random.chance(0.85)) return mutateDer(random, random.pick(spkis));
  const modulus = BigInt(`0x${random.bytes(random.pick([1, 8, 128, 256])).toString('hex')}`);
  const key = encodeSequence(derInteger(modulus), derInteger(random.pick([0n, 1n, 3n, 65537n, 2n ** 64n])));
  const algorithm = encodeSequence(encodeOid('1.2.840.113549.1.1.1'), encodeElement(0x05));
  return Buffer.from(encodeSequence(algorithm, encodeBitString(key)));
}

async function runCsr(input: Input): Promise<boolean> {
  const proven = await mayFail(() => proveKey({ kind: 'csr', csr: bytesOf(input) }, '', defaultKeyPolicy), '');
  if (proven !== undefined) checkProven(proven.spki);
  return proven !== undefined;
}

async function runSpki(input: Input): Promise<boolean> {
  const bytes = bytesOf(input);
  const pem = encodePem('PUBLIC KEY', bytes);
  const proof = proofs[bytes.length % proofs.length] ?? Buffer.alloc(0);
  let isAccepted = false;
  for (const key of [bytes, pem]) {
    const proven = await mayFail(() => proveKey({ kind: 'publicKey', key, proof }, challenge, defaultKeyPolicy), '');
    if (proven !== undefined) checkProven(proven.spki);
    isAccepted ||= proven !== undefined;
  }
  return isAccepted;
}

/** Mutation cannot make a new key that we hold the proof for; an accepted one is one of ours, byte for byte. */
function checkProven(spki: Uint8Array): void {
  must(
    spkis.some((known) => known.equals(spki)),
    'a key was accepted that nobody holds',
  );
}

async function runPem(input: Input): Promise<boolean> {
  const read = async (text: string | Uint8Array): Promise<boolean> => {
    const block = await mayFail(() => decodePem(text, ['PUBLIC KEY', 'CERTIFICATE REQUEST']), '', PemError);
    const all = await mayFail(() => decodePemAll(text, 'CERTIFICATE REQUEST'), '', PemError);
    must(block === undefined || pemLabel(text) === block.label, "the label is not the block's");
    must(all === undefined || all.every((der) => der.length > 0), 'an empty block');
    return block !== undefined;
  };
  await read(bytesOf(input));
  return read(textOf(input));
}

/** Targets around keys and DER. */
export async function keyTargets(): Promise<Record<'jwks' | 'discovery' | 'csr' | 'spki' | 'pem' | 'der', Target>> {
  const { certificate } = await createRoot({
    organization: 'fuzz',
    commonName: 'fuzz',
    curve: 'P-256',
    now: Date.now(),
    lifetimeDays: 1,
    random: (size) => Buffer.alloc(size, 5),
  });
  const scts = Buffer.from(
    '0078007600'.padEnd(10 + 64, 'ab') + '00000191000000000000040300473045'.padEnd(170, 'cd'),
    'hex',
  );
  return {
    jwks: {
      weight: 9,
      make: (random) => jsonText(random, mutateJson(random, fullJwks)),
      async run(input) {
        const set = await mayFail(() => parseJwks(textOf(input)), '', Error);
        must(set === undefined || set.keys.every(({ key }) => key.type === 'public'), 'a key that is not public');
        return set !== undefined;
      },
    },
    discovery: {
      weight: 5,
      make: (random) => jsonText(random, mutateJson(random, discovery)),
      async run(input) {
        const found = await mayFail(() => parseDiscovery(textOf(input), discovery.issuer), '', DiscoveryError);
        must(found === undefined || found.jwksUri.protocol === 'https:', 'a jwks_uri without TLS');
        return found !== undefined;
      },
    },
    csr: { weight: 10, make: hostileCsr, run: runCsr },
    spki: { weight: 8, make: hostileSpki, run: runSpki },
    pem: {
      weight: 7,
      make: (random) =>
        random.chance(0.5)
          ? mutateText(random, random.pick(goodCsrs))
          : mutateBytes(random, Buffer.from(random.pick(goodCsrs))),
      run: runPem,
    },
    der: {
      weight: 5,
      make: (random) => mutateDer(random, random.chance(0.8) ? certificate : scts),
      async run(input) {
        const bytes = bytesOf(input);
        const certificate = await mayFail(() => parseCertificate(bytes), '', DerError);
        await mayFail(() => decodeSctList(bytes), '', TlsDecodeError);
        return certificate !== undefined;
      },
    },
  };
}
