import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type IssuedCertificate, loggedPrecert, verifyIssued } from '../../src/cli/verify-certificate.js';
import { identityOf, tokenIssuerOf } from '../../src/cli/verify-certificate-fields.js';
import { checkInclusion } from '../../src/cli/verify-certificate-log.js';
import { logIdOf } from '../../src/ct/sct.js';
import { createLab, type IssueOptions, type Lab, spkiOf, startFakeServer } from './request-lab.js';

const now = new Date('2026-03-01T12:00:00Z');
const clientKey = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const lab = createLab();

function issuedBy(ca: Lab, options: Partial<IssueOptions> = {}): IssuedCertificate {
  const { leaf, chain } = ca.issue({ spki: clientKey, notBefore: now, ...options });
  return { leaf, chain, expectedKey: clientKey, roots: [ca.root], logs: [{ publicKey: ca.logSpki }], now };
}

async function failures(issued: IssuedCertificate): Promise<string[]> {
  const checks = await verifyIssued(issued);
  return checks.filter(({ status }) => status === 'failed').map(({ name }) => name);
}

describe('verifyIssued', () => {
  test.each(['p256', 'p384', 'ed25519', 'rsa'] as const)('passes a certificate of a %s CA', async (algorithm) => {
    const checks = await verifyIssued(issuedBy(createLab({ algorithm })));
    expect(checks.map(({ name, status }) => [name, status])).toEqual([
      ['key', 'passed'],
      ['chain', 'passed'],
      ['validity', 'passed'],
      ['usage', 'passed'],
      ['sct', 'passed'],
    ]);
  });

  const later = (ms: number): Date => new Date(now.getTime() + ms);
  const stranger = createLab();
  const rows: [string, string, () => IssuedCertificate][] = [
    ['another key', 'key', () => issuedBy(lab, { spki: spkiOf(otherKey.publicKey) })],
    ['a chain to another root', 'chain', () => ({ ...issuedBy(lab), roots: [stranger.root] })],
    [
      'a root of the same name that did not sign',
      'chain',
      () => ({ ...issuedBy(stranger), roots: [lab.root], logs: [{ publicKey: stranger.logSpki }] }),
    ],
    ['an issuer that is not a CA', 'chain', () => issuedBy(createLab({ issuingIsCa: false }))],
    ['a validity that is over', 'validity', () => ({ ...issuedBy(lab), now: later(11 * 60_000) })],
    [
      'a validity that has not begun',
      'validity',
      () => ({ ...issuedBy(lab, { sctTimestamp: now.getTime() - 6e5 }), now: later(-5 * 60_000) }),
    ],
    ['no SCT', 'sct', () => issuedBy(lab, { withSct: false })],
    ['an SCT of a log that is not known', 'sct', () => issuedBy(lab, { sctKey: otherKey.privateKey })],
    [
      'an SCT in the name of the log by another key',
      'sct',
      () => issuedBy(lab, { sctKey: otherKey.privateKey, sctLogId: logIdOf(lab.logKey) }),
    ],
    ['an SCT from the future', 'sct', () => issuedBy(lab, { sctTimestamp: now.getTime() + 10 * 60_000 })],
    [
      'an SCT from before the log began',
      'sct',
      () => ({ ...issuedBy(lab), logs: [{ publicKey: lab.logSpki, start: later(1000) }] }),
    ],
    [
      'an SCT from after the log ended',
      'sct',
      () => ({ ...issuedBy(lab), logs: [{ publicKey: lab.logSpki, end: later(-1000) }] }),
    ],
  ];
  test.each(rows)('fails %s by the check "%s" alone', async (_what, name, issued) => {
    expect(await failures(issued())).toEqual([name]);
  });

  test('fails a certificate without its issuer in the check of chain and SCT', async () => {
    expect(await failures({ ...issuedBy(lab), chain: [] })).toEqual(['chain', 'sct']);
  });

  test('fails a CA certificate in place of a leaf by its usage', async () => {
    expect(await failures({ ...issuedBy(lab), leaf: lab.issuing })).toContain('usage');
  });

  test('skips the SCT when no log is known, and an absent one when that is allowed', async () => {
    const without = await verifyIssued({ ...issuedBy(lab), logs: [] });
    expect(without.find(({ name }) => name === 'sct')?.status).toBe('skipped');
    const allowed = await verifyIssued({ ...issuedBy(lab, { withSct: false }), allowMissingSct: true });
    expect(allowed.find(({ name }) => name === 'sct')?.status).toBe('skipped');
  });

  test('never throws and never passes a certificate with a changed byte', async () => {
    const issued = issuedBy(lab);
    await fc.assert(
      fc.asyncProperty(fc.nat(issued.leaf.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const leaf = Uint8Array.from(issued.leaf);
        leaf[at] = (leaf[at] ?? 0) ^ flip;
        expect(await failures({ ...issued, leaf })).not.toEqual([]);
      }),
      { numRuns: 60 },
    );
  });
});

describe('checkInclusion', () => {
  const sleep = async (): Promise<void> => undefined;

  async function inclusion(options: Parameters<typeof startFakeServer>[1]) {
    const server = await startFakeServer(lab, options);
    try {
      const pem = JSON.stringify({
        publicKeyRequest: { publicKey: { content: Buffer.from(clientKey).toString('base64') } },
      });
      const answer = await fetch(`${server.url}/api/v2/signingCert`, { method: 'POST', body: pem });
      const { signedCertificateEmbeddedSct } = (await answer.json()) as {
        signedCertificateEmbeddedSct: { chain: { certificates: string[] } };
      };
      const [leaf = new Uint8Array(), ...chain] = signedCertificateEmbeddedSct.chain.certificates.map((text) =>
        Buffer.from(text.replace(/-----[^-]+-----|\s/g, ''), 'base64'),
      );
      const logged = loggedPrecert({ leaf, chain, logs: [{ publicKey: lab.logSpki }], now: new Date() });
      if (logged === undefined) throw new Error('the lab made an SCT that does not verify');
      return await checkInclusion(logged, { url: `${server.url}/ctlog`, fetch, sleep });
    } finally {
      await server.close();
    }
  }

  test('passes an entry with a proof to the signed root', async () => {
    expect(await inclusion({})).toMatchObject({ status: 'passed', detail: expect.stringContaining('entry 0') });
  });

  test.each([
    ['fails a tree head by another key', { treeHeadKey: otherKey.privateKey }, 'failed', 'not signed by the key'],
    ['fails a tree with another entry', { otherLeaf: new Uint8Array(32) }, 'failed', 'does not lead to'],
    ['skips a log that is not there', { withoutLog: true }, 'skipped', 'no RFC 6962 log'],
    ['skips an entry the tree does not reach', { issue: { leafIndex: 7 } }, 'skipped', 'does not reach entry 7'],
  ] as const)('%s', async (_name, options, status, detail) => {
    expect(await inclusion(options)).toMatchObject({ status, detail: expect.stringContaining(detail) });
  });
});

test('the identity and the token issuer are read from the certificate', () => {
  const { leaf } = issuedBy(lab);
  expect(identityOf(leaf)).toEqual({ kind: 'email', value: 'jane@example.com' });
  expect(tokenIssuerOf(leaf)).toBe('https://issuer.example');
});
