import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab.close());

async function startQuickstart(): Promise<RunningServer> {
  const [port, grpcPort, metricsPort, oidcPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const ports = ['--port', `${port}`, '--grpc-port', `${grpcPort}`, '--metrics-port', `${metricsPort}`];
  return startServer({
    name: 'mayfly quickstart',
    command: process.execPath,
    args: [resolve(projectDir, 'dist/main.js'), 'quickstart', ...ports, '--oidc-port', `${oidcPort}`],
    cwd: lab.dir,
    readyUrl: `http://127.0.0.1:${port}/readyz`,
  });
}

/** Everything quickstart prints before it waits for Ctrl-C. */
async function reportOf(quickstart: RunningServer): Promise<string> {
  for (let tries = 0; tries < 300; tries += 1) {
    if (quickstart.printed().includes('Serving until Ctrl-C')) return quickstart.printed();
    await sleep(100);
  }
  throw new Error(`quickstart did not get to the end of its report:\n${quickstart.printed()}`);
}

/** The cosign commands in the report, with their continuation lines. */
function cosignCommands(report: string): string[] {
  return report.match(/^ *cosign (?:.*\\\n)*.*$/gm) ?? [];
}

test('the cosign commands that quickstart prints sign a file and verify it as they stand', async () => {
  const quickstart = lab.keep(await startQuickstart());
  const [sign, verify, ...others] = cosignCommands(await reportOf(quickstart));
  expect(sign).toContain('cosign sign-blob');
  expect(verify).toContain('cosign verify-blob');
  expect(others).toEqual([]);

  const env = { PATH: `${resolve(toolPath('bin/cosign'), '..')}:${process.env.PATH}` };
  const options = { cwd: lab.dir, env };
  await mustRun('sh', ['-c', sign ?? ''], options);
  expect(await run('sh', ['-c', verify ?? ''], options)).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('Verified OK'),
  });
  const asAnother = verify?.replace('jane@example.com', 'mallory@example.com') ?? '';
  expect((await run('sh', ['-c', asAnother], options)).code).not.toBe(0);

  // The timestamp stands in the bundle: nothing has to run for the file to be verified later.
  await quickstart.close();
  expect(await readFile(join(lab.dir, 'quickstart-data/demo/hello.bundle.json'), 'utf8')).toContain(
    'rfc3161Timestamps',
  );
  expect(await run('sh', ['-c', verify ?? ''], options)).toMatchObject({ code: 0 });
});
