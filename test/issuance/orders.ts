import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import type { PrecertOrder } from '../../src/issuance/steps.js';
import { defaultKeyPolicy } from '../../src/proof.js';
import { newSerial } from '../../src/x509/tbs.js';

export const challenge = 'jane@example.com';

/** An order with a new key on `curve` and its proof of possession over `challenge`. */
export function order(overrides: Partial<PrecertOrder> = {}, curve = 'P-256'): PrecertOrder {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const hash = { 'P-256': 'sha256', 'P-384': 'sha384', 'P-521': 'sha512' }[curve] ?? 'sha256';
  const proof = sign(hash, Buffer.from(challenge), privateKey);
  const now = Math.floor(Date.now() / 1000) * 1000;
  return {
    request: { kind: 'publicKey', key: publicKey.export({ type: 'spki', format: 'pem' }).toString(), proof },
    challenges: [challenge],
    policy: defaultKeyPolicy,
    leaf: {
      serial: newSerial(randomBytes),
      notBefore: new Date(now),
      notAfter: new Date(now + 600_000),
      san: { kind: 'email', value: challenge },
      extensions: { issuer: 'https://issuer.example', issuerV2: 'https://issuer.example' },
    },
    logged: true,
    ...overrides,
  };
}
