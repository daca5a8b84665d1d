import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate as AsnCertificate } from '@peculiar/asn1-x509';
import { loadChain } from '../../src/ca/chain.js';
import { createChain, signBelow, validity } from '../../src/ca/create.js';
import { createEphemeralCa } from '../../src/ca/ephemeral.js';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { certificateUse, keyUsageBit, parseCertificate } from '../../src/x509/certificate.js';
import { describeName } from '../../src/x509/name.js';
import { decodePem, encodePem } from '../../src/x509/pem.js';
import { encodeCertificate, encodeTbs } from '../../src/x509/tbs.js';
import { sampleLeaf } from '../x509/golden.js';
import { certify, nameOf, newKey } from './ceremony-drafts.js';
import { now } from './chains.js';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const chain = await createChain('Example Org', now, randomBytes);
const root = parseCertificate(chain.root.certificate);
const intermediate = parseCertificate(chain.intermediate.certificate);

test('root and intermediate follow the profile', () => {
  const signs = keyUsageBit.keyCertSign | keyUsageBit.crlSign;
  expect(describeName(root.subject)).toMatch(/^CN=mayfly root [0-9a-f]{8}, O=Example Org$/);
  expect(describeName(intermediate.subject)).toMatch(/^CN=mayfly issuing CA [0-9a-f]{8}, O=Example Org$/);
  expect(certificateUse(root)).toMatchObject({
    basicConstraints: { ca: true, pathLength: undefined },
    keyUsage: signs,
    extendedKeyUsage: undefined,
  });
  expect(certificateUse(intermediate)).toMatchObject({
    basicConstraints: { ca: true, pathLength: 0 },
    keyUsage: signs,
    extendedKeyUsage: ['1.3.6.1.5.5.7.3.3'],
    authorityKeyId: certificateUse(root).subjectKeyId,
  });
  expect(intermediate.notBefore >= root.notBefore && intermediate.notAfter <= root.notAfter).toBe(true);
});

test('loadChain takes what createChain makes', () => {
  const pem = [chain.intermediate, chain.root].map(({ certificate }) => encodePem('CERTIFICATE', certificate)).join('');
  expect(loadChain(pem, createKeySigner(chain.intermediate.privateKey), now).chain).toHaveLength(2);
});

test('another ASN.1 library reads the certificates back to the same bytes', () => {
  for (const { certificate } of [chain.root, chain.intermediate]) {
    const parsed = AsnConvert.parse(certificate, AsnCertificate);
    expect(Buffer.from(AsnConvert.serialize(parsed))).toEqual(Buffer.from(certificate));
  }
});

test("a certificate names its issuer's key as the issuer's certificate does, whatever that made it of", async () => {
  const key = newKey();
  const subjectKeyId = Uint8Array.from({ length: 32 }, (_, i) => i);
  const company = { subject: nameOf('company'), issuer: nameOf('company'), key, signedBy: key, subjectKeyId };
  const { der: certificate } = decodePem(certify(company), ['CERTIFICATE']);
  const { spki } = intermediate;
  const signed = await signBelow(
    { certificate, signer: createKeySigner(key) },
    { role: 'issuing', subject: nameOf('issuing'), spki, ...validity(now, 30), random: randomBytes },
  );
  expect(certificateUse(parseCertificate(signed)).authorityKeyId).toEqual(subjectKeyId);
});

test('the ephemeral CA issues directly from a P-256 root', async () => {
  const ca = await createEphemeralCa(() => now);
  expect(ca.chain).toHaveLength(1);
  expect(ca.signer.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
});

describe(hasOpenssl ? 'openssl' : 'skipped: openssl is not here', () => {
  const cases = hasOpenssl ? test : test.skip;
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  cases('verifies a leaf through the chain, for code signing', async () => {
    const signer = createKeySigner(chain.intermediate.privateKey);
    const issuing = certificateUse(intermediate).subjectKeyId ?? new Uint8Array();
    const tbs = encodeTbs({
      ...sampleLeaf,
      issuerName: intermediate.subject,
      authorityKeyId: issuing,
      signatureAlgorithm: signer.signatureAlgorithm,
      notBefore: new Date(now),
      notAfter: new Date(now + 600_000),
    });
    const leaf = encodeCertificate(tbs, signer.signatureAlgorithm, await signer.sign(tbs));
    const files = { leaf, intermediate: chain.intermediate.certificate, root: chain.root.certificate };
    for (const [name, der] of Object.entries(files)) writeFileSync(join(folder, name), encodePem('CERTIFICATE', der));
    const strict = ['-x509_strict', '-purpose', 'any', '-attime', String(now / 1000 + 1)];
    const trust = ['-CAfile', join(folder, 'root'), '-untrusted', join(folder, 'intermediate')];
    const output = execFileSync('openssl', ['verify', ...strict, ...trust, join(folder, 'leaf')], { encoding: 'utf8' });
    expect(output).toContain('OK');
  });
});
