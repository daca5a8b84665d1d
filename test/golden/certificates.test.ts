import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseCertificate } from '../../src/x509/certificate.js';
import { decodePem } from '../../src/x509/pem.js';
import { post } from '../support/client.js';
import { type GoldenLab, goldenDir, haveGolden, readGolden, startGoldenLab } from './lab.js';

interface Golden {
  readonly claims: Record<string, unknown>;
  readonly challenge: string;
  readonly keyAlgorithm: string;
  readonly validitySeconds: number;
  readonly subjectEmpty: boolean;
  readonly extensions: readonly { readonly oid: string; readonly critical: boolean; readonly value: string }[];
}

const newKey: Record<string, () => { privateKey: KeyObject; publicKey: KeyObject }> = {
  p256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  ed25519: () => generateKeyPairSync('ed25519'),
  rsa2048: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  rsa4096: () => generateKeyPairSync('rsa', { modulusLength: 4096 }),
};
const hash: Record<string, string | null> = { p384: 'sha384', p521: 'sha512', ed25519: null };

/** Extensions whose value depends on keys, CA and log: the subject and authority key identifiers and the SCT list. */
const ownValue = new Set(['2.5.29.14', '2.5.29.35', '1.3.6.1.4.1.11129.2.4.2']);

const names = haveGolden ? readdirSync(join(goldenDir, 'certificates')) : [];
const describeGolden = haveGolden ? describe : describe.skip;

describeGolden('certificates for the claims that Fulcio was given', () => {
  let lab: GoldenLab;
  beforeAll(async () => {
    lab = await startGoldenLab();
  }, 40_000);
  afterAll(() => lab.close());

  test.each(names)("%s: SAN, extensions, order, criticality and bytes are Fulcio's", async (name) => {
    const golden = readGolden<Golden>(`certificates/${name}`);
    const pair = newKey[golden.keyAlgorithm]?.();
    if (pair === undefined) throw new Error(`no key of kind ${golden.keyAlgorithm}`);
    const digest = golden.keyAlgorithm in hash ? hash[golden.keyAlgorithm] : 'sha256';
    const answer = await post(
      `${lab.server.url}/api/v2/signingCert`,
      JSON.stringify({
        publicKeyRequest: {
          publicKey: { algorithm: 'ECDSA', content: pair.publicKey.export({ type: 'spki', format: 'pem' }) },
          proofOfPossession: sign(digest, Buffer.from(golden.challenge), pair.privateKey).toString('base64'),
        },
      }),
      { Authorization: `Bearer ${lab.token(golden.claims)}` },
    );
    expect(answer).toMatchObject({ status: 200 });
    const body = JSON.parse(answer.text) as { signedCertificateEmbeddedSct: { chain: { certificates: [string] } } };
    const pem = body.signedCertificateEmbeddedSct.chain.certificates[0];
    const leaf = parseCertificate(decodePem(pem, ['CERTIFICATE']).der);
    const strip = ({ oid, critical, value }: { oid: string; critical: boolean; value: string }) =>
      ownValue.has(oid) ? { oid, critical } : { oid, critical, value };
    const found = leaf.extensions.map(({ oid, critical, value }) =>
      strip({ oid, critical, value: Buffer.from(value).toString('hex') }),
    );
    expect(found).toEqual(golden.extensions.map(strip));
    expect(leaf.notAfter.getTime() - leaf.notBefore.getTime()).toBe(golden.validitySeconds * 1000);
    expect(Buffer.from(leaf.subject).toString('hex') === '3000').toBe(golden.subjectEmpty);
    expect(leaf.serial.length).toBeLessThanOrEqual(20);
  });
});
