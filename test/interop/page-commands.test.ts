import { symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { freePort, startServer } from './server-process.js';

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab.close());

/** The blocks of code that the page at `url` offers to copy. */
async function blocksOf(url: string): Promise<string[]> {
  const text = await (await fetch(url)).text();
  const entities: Readonly<Record<string, string>> = {
    '&amp;': '&',
    '&lt;': '<',
    '&gt;': '>',
    '&quot;': '"',
    '&#39;': "'",
  };
  return [...text.matchAll(/<pre[^>]*><code>([^<]*)<\/code>/g)].map(([, code = '']) =>
    code.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => entities[entity] ?? ''),
  );
}

test('the commands on the page fetch trust, sign and verify as they stand', async () => {
  const [port, grpcPort, metricsPort, oidcPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const ports = ['--port', `${port}`, '--grpc-port', `${grpcPort}`, '--metrics-port', `${metricsPort}`];
  const quickstart = lab.keep(
    await startServer({
      name: 'mayfly quickstart',
      command: process.execPath,
      args: [resolve(projectDir, 'dist/main.js'), 'quickstart', ...ports, '--oidc-port', `${oidcPort}`],
      cwd: lab.dir,
      readyUrl: `http://127.0.0.1:${port}/readyz`,
    }),
  );
  const blocks = await blocksOf(`http://127.0.0.1:${port}/`);
  const block = (start: string): string => blocks.find((code) => code.startsWith(start)) ?? '';
  const [sign = '', verify = ''] = block('cosign sign-blob --yes --signing-config')
    .replaceAll(/ \\\n\s+/g, ' ')
    .split('\n');
  const token = await mustRun(process.execPath, [resolve(projectDir, 'dist/main.js'), 'quickstart', 'token'], {
    cwd: lab.dir,
  });
  await writeFile(join(lab.dir, 'token'), token.stdout.trim());
  await writeFile(join(lab.dir, 'FILE'), 'to be signed');

  const options = { cwd: lab.dir, env: { PATH: `${resolve(toolPath('bin/cosign'), '..')}:${process.env.PATH}` } };
  await mustRun('sh', ['-ec', block('curl ')], options);
  // There is no browser here to log in with, which is what the page says the flag is for.
  await mustRun('sh', ['-ec', sign.replace('--yes', '--yes --identity-token token')], options);
  expect(await run('sh', ['-ec', verify], options)).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('Verified OK'),
  });
  const asAnother = verify.replace('jane@example.com', 'mallory@example.com');
  expect((await run('sh', ['-ec', asAnother], options)).code).not.toBe(0);

  await symlink(join(projectDir, 'node_modules'), join(lab.dir, 'node_modules'));
  const verifyJs = block('import { readFileSync }');
  await writeFile(join(lab.dir, 'verify.mjs'), verifyJs);
  await mustRun(process.execPath, ['verify.mjs'], options);
  await writeFile(join(lab.dir, 'wrong.mjs'), verifyJs.replace('^jane', '^mallory'));
  expect((await run(process.execPath, ['wrong.mjs'], options)).code).not.toBe(0);
  await quickstart.close();
});
