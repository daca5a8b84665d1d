import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

const main = resolve(projectDir, 'dist/main.js');

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab.close());

/** The shell commands below a heading of a page, as they stand. */
async function commandsOf(page: string, heading: string): Promise<string> {
  const text = await readFile(join(projectDir, 'docs', page), 'utf8');
  const section = text.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';
  const [, commands] = /^```sh\n([\s\S]*?)^```/m.exec(section) ?? [];
  if (commands === undefined) throw new Error(`docs/${page} has no commands under "${heading}"`);
  return commands;
}

const trustedRoot = z.looseObject({
  ctlogs: z.array(
    z.looseObject({
      logId: z.looseObject({ keyId: z.string() }),
      publicKey: z.looseObject({ validFor: z.looseObject({ end: z.string().optional() }) }),
    }),
  ),
});
const readiness = z.looseObject({ checks: z.array(z.looseObject({ name: z.string(), ok: z.boolean() })) });

test('the commands of docs/operating.md back up, restore, and go on with a new log when entries are missing', async () => {
  const [port, grpcPort, metricsPort, oidcPort] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const url = `http://127.0.0.1:${port}`;
  const ports = ['--port', `${port}`, '--grpc-port', `${grpcPort}`, '--metrics-port', `${metricsPort}`];
  const [data, backup, bin] = [join(lab.dir, 'data'), join(lab.dir, 'backup'), join(lab.dir, 'bin')];
  await mkdir(bin);
  await writeFile(join(bin, 'mayfly'), `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`);
  await chmod(join(bin, 'mayfly'), 0o755);
  const path = `${bin}:${resolve(toolPath('bin/cosign'), '..')}:${process.env.PATH}`;
  const places = { PATH: path, DATA: data, BACKUP: backup, LOG: join(data, 'ctlog'), COPY: join(backup, 'ctlog') };
  const env = { ...places, KEY: join(data, 'trust/ctlog.pub.pem') };
  const sh = (commands: string) => mustRun('sh', ['-c', commands], { cwd: lab.dir, env });
  const trusted = async () =>
    trustedRoot.parse(JSON.parse(await readFile(join(data, 'trust/trusted_root.json'), 'utf8')));

  const quickstart = lab.keep(
    await startServer({
      name: 'mayfly quickstart',
      command: process.execPath,
      args: [main, 'quickstart', '--data-dir', data, ...ports, '--oidc-port', `${oidcPort}`],
      cwd: lab.dir,
      readyUrl: `${url}/readyz`,
    }),
  );
  while (!quickstart.printed().includes('Serving until Ctrl-C')) await sleep(100);
  await writeFile(join(lab.dir, 'file'), 'signed before the disaster');
  const trustFlags = `--trusted-root ${data}/trust/trusted_root.json --bundle bundle.json`;
  await sh(
    `cosign sign-blob --yes --identity-token ${data}/identity-token --signing-config ${data}/trust/signing_config.json ${trustFlags} file`,
  );
  // The files may be a tenth of a second behind.
  const published = async () => (await readFile(join(data, 'ctlog/checkpoint'), 'utf8')).split('\n')[1];
  while ((await published()) !== '2') await sleep(10);
  await sh(await commandsOf('operating.md', 'Back up'));
  await sh(await commandsOf('log.md', 'Backup'));
  const before = await trusted();
  await quickstart.close();

  const restored = await sh(await commandsOf('operating.md', 'Restore, and the drill'));
  expect(restored.stdout).toMatch(/sound[\s\S]*entries +2\n/);
  await writeFile(join(lab.dir, 'nobody.yaml'), 'oidc-issuers: {}\n');
  const serve = (): Promise<RunningServer> =>
    startServer({
      name: 'mayfly serve',
      command: process.execPath,
      args: [
        main,
        'serve',
        '--data-dir',
        data,
        '--config-path',
        'nobody.yaml',
        '--host',
        '127.0.0.1',
        '--tsa',
        ...ports,
      ],
      cwd: lab.dir,
      env: { FULCIO_SERVE_PUBLIC_URL: url },
      readyUrl: `${url}/healthz`,
    });
  const drill = lab.keep(await serve());
  const { checks } = readiness.parse(await (await fetch(`${url}/readyz`)).json());
  expect(checks.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual(['identity-configuration']);
  expect(await trusted()).toEqual(before);
  await drill.close();

  await sh(await commandsOf('operating.md', 'Entries are missing'));
  const goesOn = lab.keep(await serve());
  const { ctlogs } = await trusted();
  const oldLog = before.ctlogs[0]?.logId.keyId;
  expect(ctlogs.map(({ logId, publicKey }) => [logId.keyId === oldLog, publicKey.validFor.end !== undefined])).toEqual(
    expect.arrayContaining([
      [true, true],
      [false, false],
    ]),
  );
  const verify = `cosign verify-blob ${trustFlags} --use-signed-timestamps --insecure-ignore-tlog --certificate-identity jane@example.com`;
  const flags = `--certificate-oidc-issuer http://127.0.0.1:${oidcPort} file`;
  expect((await run('sh', ['-c', `${verify} ${flags}`], { cwd: lab.dir, env })).stderr).toContain('Verified OK');
  await goesOn.close();
}, 120_000);
