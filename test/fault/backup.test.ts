import { execFile } from 'node:child_process';
import { readFileSync, renameSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { readDirectory } from '../../src/ctlog/directory-storage.js';
import { fsckLog } from '../../src/ctlog/fsck.js';
import { startLoad } from '../support/load.js';
import { builtMain, createInstance, email, type Instance } from './server.js';

const runFile = promisify(execFile);
const manual = resolve(import.meta.dirname, '../../docs/log.md');

/** The commands that the manual tells an operator to copy a log with. */
function backupScript(): string {
  const [, script] = /## Backup.*?```sh\n(.*?)```/s.exec(readFileSync(manual, 'utf8')) ?? [];
  if (script === undefined) throw new Error(`no commands under "Backup" in ${manual}`);
  return script;
}

const timeoutMs = 120_000;

let instance: Instance;
beforeEach(async () => {
  instance = await createInstance();
});
afterEach(() => instance.close());

/** Runs those commands; `mayfly` is the built one. */
async function backUp(copy: string): Promise<string> {
  const bin = join(dirname(instance.dataDir), 'bin');
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, 'mayfly'), `#!/bin/sh\nexec '${process.execPath}' '${builtMain}' "$@"\n`);
  await chmod(join(bin, 'mayfly'), 0o755);
  const key = join(instance.dataDir, 'trust/ctlog.pub.pem');
  const env = { PATH: `${bin}:${process.env.PATH}`, LOG: instance.logDir, COPY: copy, KEY: key };
  return (await runFile('sh', ['-c', backupScript()], { env })).stdout;
}

test(
  "the manual's commands copy a log under load again and again, and a server goes on from the copy",
  async () => {
    const copy = join(dirname(instance.dataDir), 'copy');
    const server = await instance.start();
    const load = startLoad(instance.url, await instance.token(), email, 16);
    const sizes: number[] = [];
    for (let i = 0; i < 3; i += 1) {
      await sleep(300);
      expect(await backUp(copy)).toContain('sound');
      const findings: unknown[] = [];
      const { origin } = instance;
      const report = (finding: unknown) => void findings.push(finding);
      const summary = await fsckLog(readDirectory(copy), { logKey: instance.logKey(), origin, report });
      expect(findings).toEqual([]);
      sizes.push(summary?.size ?? 0);
    }
    await load.stop();
    await server.stop('SIGTERM');
    expect(Math.min(...sizes)).toBeGreaterThan(0);
    expect([...sizes].sort((a, b) => a - b)).toEqual(sizes);

    await rm(instance.logDir, { recursive: true });
    renameSync(copy, instance.logDir);
    const restored = await instance.start();
    expect((await instance.head()).size).toBe(sizes.at(-1));
    await restored.stop('SIGTERM');
  },
  timeoutMs,
);
