import { join } from 'node:path';
import { FulcioSigner, MessageSignatureBundleBuilder, TSAWitness } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { createTrustFiles } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { startTimestampAuthority, type TimestampAuthority } from './timestamp-authority.js';
import { ownTrustFiles, readTrustedRoot, withServicesOf } from './trust-files.js';

const jane = 'jane@example.com';
const data = Buffer.from('a file to sign\n');

let lab: Lab;
let ca: CaServer;
let issuer: OidcIssuer;
let tsa: TimestampAuthority;
let verifier: Verifier;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'ES256', accounts, otherClients: ['another-service'] }));
  tsa = lab.keep(await startTimestampAuthority(lab.dir));
  ca = lab.keep(await startCa({ dir: lab.dir, config: emailIssuerConfig(issuer.url), log: true }));
  const made = await createTrustFiles(lab.dir, {
    ca,
    caChainPath: join(ca.trustDir, 'ca.pem'),
    ctLogKeyPath: join(ca.trustDir, 'ctlog.pub.pem'),
    tsa,
    issuerUrl: issuer.url,
  });
  const files = await withServicesOf(lab.dir, ownTrustFiles(ca.trustDir), made);
  const trust = toTrustMaterial(await readTrustedRoot(files.trustedRoot));
  verifier = new Verifier(trust, { ctlogThreshold: 1, tlogThreshold: 0, timestampThreshold: 1 });
});
afterAll(() => lab.close());

function sign(token: string) {
  const signer = new FulcioSigner({ fulcioBaseURL: ca.url, identityProvider: { getToken: async () => token } });
  const witnesses = [new TSAWitness({ tsaBaseURL: tsa.url })];
  return new MessageSignatureBundleBuilder({ signer, witnesses }).create({ data });
}

/** What sigstore-js says of a refusal: the status and the message that the server gave. */
async function refusal(token: string): Promise<string> {
  const error = await sign(token).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof Error && 'cause' in error) return `${error.message}: ${error.cause}`;
  throw new Error('the request was not refused');
}

test('sigstore-js signs and verifies, and no one else passes', async () => {
  const bundle = await sign(await issuer.idToken('account-4711'));

  const verify = (identity: string, issuerUrl: string) => () =>
    verifier.verify(toSignedEntity(bundle, data), {
      subjectAlternativeName: identity,
      extensions: { issuer: issuerUrl },
    });
  expect(verify('^jane@example\\.com$', issuer.url)().identity?.subjectAlternativeName).toBe(jane);
  expect(verify('^mallory@example\\.com$', issuer.url)).toThrow(/certificate identity error.*got jane@example\.com/);
  expect(verify('^jane@example\\.com$', 'http://127.0.0.1:1')).toThrow(/invalid certificate extension/);
});

test('sigstore-js shows why a token for another service was refused', async () => {
  const message = await refusal(await issuer.idToken('account-4711', 'another-service'));

  expect(message).toContain('There was an error processing the identity token');
  expect(message).toMatch(/audience.*another-service.*sigstore/);
});

test('sigstore-js shows why a token of an issuer that is not configured was refused', async () => {
  const stranger = lab.keep(
    await startOidcIssuer({ algorithm: 'RS256', accounts: [{ sub: jane, email: jane, email_verified: true }] }),
  );

  const message = await refusal(await stranger.idToken(jane));

  expect(message).toContain('There was an error processing the identity token');
  expect(message).toContain(stranger.url);
});
