import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { copyCommand } from '../../src/cli/log-copy.js';
import { movedTo } from '../../src/ctlog/moved.js';
import { emailConfig, start, startFailure, temporary } from '../server/lab.js';

const dir = temporary();
const dataDir = join(dir, 'data');
const flags = {
  'data-dir': dataDir,
  'config-path': emailConfig(dir, 'https://issuer.example'),
  'public-url': 'https://ca.example.com',
};
/** Nothing listens there: what is refused here is refused before anything is asked of it. */
const objects = {
  address: 's3://bucket/log?endpoint=http://127.0.0.1:9',
  postgres: 'postgres://nobody@127.0.0.1:9/none',
};
const io = { out() {}, err() {}, now: () => new Date(), interactive: false };
const copy = (more: Partial<Parameters<typeof copyCommand>[0]> = {}) => copyCommand({ dataDir, objects, ...more }, io);
const refusal = (detail: RegExp) => ({ code: 'STARTUP', detail: expect.stringMatching(detail) });

afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('without a log there is nothing to move, and nothing is made', async () => {
  await expect(copy()).rejects.toMatchObject(refusal(/holds no log key/));
  expect(existsSync(dataDir)).toBe(false);
});

test('a copy is refused beside a server, and for the copy of a log that the server still has', async () => {
  const server = await start(flags);
  await expect(copy()).rejects.toMatchObject(refusal(/in use by another process/));
  await server.close();
  await expect(copy({ from: join(dir, 'none') })).rejects.toMatchObject(refusal(/holds the log too/));
  const elsewhere = join(dir, 'elsewhere');
  renameSync(join(dataDir, 'ctlog'), elsewhere);
  await expect(copy()).rejects.toMatchObject(refusal(/there is no log in .*ctlog/));
  await expect(copy({ from: join(dir, 'none') })).rejects.toMatchObject(refusal(/there is no log in .*none/));
  renameSync(elsewhere, join(dataDir, 'ctlog'));
});

test('a store that cannot be reached leaves the log where it is', async () => {
  await expect(copy()).rejects.toMatchObject({ code: 'STARTUP' });
  expect(movedTo(join(dataDir, 'ctlog'))).toBeUndefined();
  await (await start(flags)).close();
});

test('a server with a store refuses to begin a second log beside the one in its directory', async () => {
  const inStore = { ...flags, 'ctlog-storage': objects.address, 'ctlog-postgres': objects.postgres };
  expect(await startFailure(inStore)).toMatch(/but the log is in .*ctlog and was never moved.*"mayfly log copy"/);
});
