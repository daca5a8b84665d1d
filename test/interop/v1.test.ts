import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { makeCa } from './openssl-ca.js';
import { certificatesIn, type KeyForm, requestV1 } from './v1-client.js';

const jane = 'jane@example.com';

let lab: Lab;
let ca: CaServer;
let caChainPath: string;
let issuer: OidcIssuer;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  const files = await makeCa(lab.dir, 'P-256', 'with intermediate');
  caChainPath = files.chainPath;
  ca = lab.keep(await startCa({ dir: lab.dir, config: emailIssuerConfig(issuer.url), log: true, files }));
});
afterAll(() => lab.close());

test.each<KeyForm>(['as cosign 2', 'as gitsign'])(
  'a v1 request %s sends it is answered with 201 and a PEM chain',
  async (form) => {
    const answer = await requestV1(ca.url, await issuer.idToken('account-4711'), jane, form);

    expect(answer).toMatchObject({ status: 201, contentType: 'application/pem-certificate-chain' });
    const chain = certificatesIn(answer.body);
    const expectedChain = certificatesIn(await readFile(caChainPath, 'utf8'));
    expect(chain.slice(1).map((cert) => cert.raw)).toEqual(expectedChain.map((cert) => cert.raw));
    expect(chain[0]?.subjectAltName).toBe(`email:${jane}`);
  },
);

test('cosign 2 signs a file and verifies it, and no one else passes', async () => {
  const cosign = toolPath('bin/cosign-v2');
  const [file, signature, certificate] = ['blob', 'blob.sig', 'blob.pem'].map((name) => join(lab.dir, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(file, 'a file to sign\n');
  const env = { SIGSTORE_ROOT_FILE: caChainPath, SIGSTORE_CT_LOG_PUBLIC_KEY_FILE: join(ca.trustDir, 'ctlog.pub.pem') };
  const options = { cwd: lab.dir, env };

  const token = await issuer.idToken('account-4711');
  const out = ['--output-signature', signature, '--output-certificate', certificate];
  const signArgs = [
    '--yes',
    '--identity-token',
    token,
    '--fulcio-url',
    ca.url,
    '--tlog-upload=false',

    ...out,
  ];
  await mustRun(cosign, ['sign-blob', ...signArgs, file], options);

  const verify = (identity: string, issuerUrl: string) => {
    const who = ['--certificate-identity', identity, '--certificate-oidc-issuer', issuerUrl];
    const given = ['--signature', signature, '--certificate', certificate];
    return run(cosign, ['verify-blob', ...given, ...who, '--insecure-ignore-tlog', file], options);
  };
  expect(await verify(jane, issuer.url)).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
  const wrongIdentity = await verify('mallory@example.com', issuer.url);
  expect(wrongIdentity.stderr).toContain(`got subjects [${jane}]`);
  expect(wrongIdentity.code).not.toBe(0);
  const wrongIssuer = await verify(jane, 'http://127.0.0.1:1');
  expect(wrongIssuer.stderr).toContain(issuer.url);
  expect(wrongIssuer.code).not.toBe(0);
});
