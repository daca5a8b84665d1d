import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { createTrustFiles } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { startRekor } from './rekor.js';
import { startTimestampAuthority } from './timestamp-authority.js';
import { ownTrustFiles, withServicesOf, writeClientTrustConfig } from './trust-files.js';

const jane = 'jane@example.com';
const script = join(projectDir, 'test/interop/sigstore_client.py');

describe.each(['RS256', 'ES256'] as const)('sigstore-python with an %s token', (algorithm) => {
  let lab: Lab;
  let ca: CaServer;
  let issuer: OidcIssuer;
  let config: string;

  beforeAll(async () => {
    lab = await openLab();
    // sigstore-python takes the identity of an unknown issuer's token from its sub.
    issuer = lab.keep(
      await startOidcIssuer({ algorithm, accounts: [{ sub: jane, email: jane, email_verified: true }] }),
    );
    const tsa = lab.keep(await startTimestampAuthority(lab.dir));
    const rekor = lab.keep(await startRekor(lab.dir));
    ca = lab.keep(await startCa({ dir: lab.dir, config: emailIssuerConfig(issuer.url), log: true }));
    const made = await createTrustFiles(lab.dir, {
      ca,
      caChainPath: join(ca.trustDir, 'ca.pem'),
      ctLogKeyPath: join(ca.trustDir, 'ctlog.pub.pem'),
      tsa,
      rekor,
      issuerUrl: issuer.url,
    });
    const files = await withServicesOf(lab.dir, ownTrustFiles(ca.trustDir), made);
    config = await writeClientTrustConfig(lab.dir, files);
  });
  afterAll(() => lab?.close());

  test('signs and verifies with the trust files that Mayfly wrote, and no one else passes', async () => {
    const python = toolPath('venv/bin/python');
    const file = join(lab.dir, 'blob');
    const bundle = join(lab.dir, 'bundle.json');
    await writeFile(file, 'a file to sign\n');

    const input = await issuer.idToken(jane);
    await mustRun(python, [script, 'sign', config, file, bundle], { cwd: lab.dir, input });

    const verify = (identity: string, url: string) =>
      run(python, [script, 'verify', config, file, bundle, identity, url], { cwd: lab.dir });
    expect(await verify(jane, issuer.url)).toMatchObject({ code: 0, stdout: 'verified\n' });
    const wrongIdentity = await verify('mallory@example.com', issuer.url);
    expect(wrongIdentity.stderr).toContain("Certificate's SANs do not match mallory@example.com");
    expect(wrongIdentity.code).not.toBe(0);
    const wrongIssuer = await verify(jane, 'http://127.0.0.1:1');
    expect(wrongIssuer.stderr).toContain(issuer.url);
    expect(wrongIssuer.code).not.toBe(0);
  });
});
