import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { mustRun, run, toolPath } from './command.js';
import { freePort } from './server-process.js';
import { jane, startTufInstance, type TufInstance } from './tuf-instance.js';

let instance: TufInstance;
beforeAll(async () => {
  instance = await startTufInstance(false);
});
afterAll(() => instance?.close());

/** The repository under an address where trusted_root.json is missing at first: cosign 2 then uses its older TUF client. */
async function withoutTrustedRootAtFirst(mirror: string): Promise<{ url: string; close(): void }> {
  let hidden = false;
  const server = createServer((request, response) => {
    const hide = !hidden && request.url?.endsWith('.trusted_root.json') === true;
    if (hide) hidden = true;
    void fetch(mirror + request.url).then(async (answer) => {
      response.statusCode = hide ? 404 : answer.status;
      response.end(Buffer.from(await answer.arrayBuffer()));
    });
  });
  const port = await freePort();
  await new Promise<void>((ready) => server.listen(port, '127.0.0.1', ready));
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

test('the older client in cosign 2 follows many roots and verifies by single certificates and keys', async () => {
  const { ca, issuer, mirror, dir, firstRoot } = instance;
  for (const role of ['root', 'timestamp', 'root', 'snapshot', 'root', 'targets', 'root']) {
    await instance.tuf('rotate-key', role);
  }
  const cwd = join(dir, 'legacy');
  await mkdir(cwd);
  await writeFile(join(cwd, 'blob'), 'a file to sign\n');
  const home = { cwd, env: { TUF_ROOT: join(cwd, 'tuf-root') } };
  const cosign = toolPath('bin/cosign-v2');
  const proxy = await withoutTrustedRootAtFirst(mirror);
  try {
    const { stdout } = await mustRun(cosign, ['initialize', '--mirror', proxy.url, '--root', firstRoot], home);
    expect(stdout).toContain('"version": 8');
    const names = ['ctfe.pub', 'fulcio_v1.crt.pem', 'signing_config.v0.2.json', 'trusted_root.json'];
    const tsa = ['tsa_leaf.crt.pem', 'tsa_root.crt.pem'];
    expect((await readdir(join(cwd, 'tuf-root/targets'))).sort()).toEqual([...names, ...tsa]);

    const token = await issuer.idToken(jane);
    const where = [
      '--fulcio-url',
      ca.url,
      '--timestamp-server-url',
      `${ca.url}/api/v1/timestamp`,
      '--tlog-upload=false',
    ];
    const written = ['--rfc3161-timestamp', 'tsr', '--output-certificate', 'pem', '--output-signature', 'sig'];
    await mustRun(cosign, ['sign-blob', '--yes', '--identity-token', token, ...where, ...written, 'blob'], home);
    const verify = (...more: string[]) => {
      const signed = ['--rfc3161-timestamp', 'tsr', '--certificate', 'pem', '--signature', 'sig'];
      const identity = ['--certificate-identity', jane, '--certificate-oidc-issuer', issuer.url];
      const noRekor = ['--use-signed-timestamps', '--insecure-ignore-tlog'];
      return run(cosign, ['verify-blob', ...signed, ...identity, ...noRekor, ...more, 'blob'], home);
    };
    // Either flag keeps cosign from using the trusted root; the rest comes from the single targets.
    const tsaGiven = await verify('--timestamp-certificate-chain', join(ca.trustDir, 'tsa.pem'));
    expect(tsaGiven).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
    const caGiven = await verify('--certificate-chain', join(ca.trustDir, 'ca.pem'));
    expect(caGiven).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
  } finally {
    proxy.close();
  }
});
