import { createPublicKey } from 'node:crypto';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import { encodeSct } from '../../src/ct/sct.js';
import { openCheckpoint } from '../../src/ctlog/checkpoint.js';
import { startIssuer } from '../support/issuer.js';
import { type Received, startLoad } from '../support/load.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { type Finished, mustRun, projectDir, run } from './command.js';
import { type Lab, openLab } from './lab.js';

const jane = 'jane@example.com';
/** More than two tiles, and a part of a third. */
const wanted = 600;

let lab: Lab;
let ca: CaServer;
let client: string;
let received: readonly Received[];

beforeAll(async () => {
  lab = await openLab();
  client = join(lab.dir, 'static-ct');
  // With this process's environment: Go keeps its modules and its cache in the home directory.
  const inherited = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? '']));
  const env = { ...inherited, TMPDIR: lab.dir };
  const module = join(projectDir, 'test/interop/static-ct');
  await mustRun('go', ['build', '-o', client, '.'], { cwd: module, env, timeoutMs: 300_000 });
  const issuer = lab.keep(await startIssuer({ alg: 'ES256' }));
  ca = lab.keep(await startCa({ dir: join(lab.dir, 'ca'), config: emailIssuerConfig(issuer.url), log: true }));
  const load = startLoad(ca.url, await issuer.token({ email: jane, email_verified: true }), jane, 16);
  while (load.received.length < wanted) await sleep(20);
  await load.stop();
  received = load.received;
}, 360_000);
afterAll(() => lab.close());

const sctOf = ([leaf]: Received): Buffer => {
  const [sct] = embeddedScts(leaf ?? Buffer.of());
  if (sct === undefined) throw new Error('a certificate has no SCT');
  return Buffer.from(encodeSct(sct));
};

const logDir = (): string => join(lab.dir, 'ca/data/ctlog');
const keyPath = (): string => join(ca.trustDir, 'ctlog.pub.pem');

/** Runs the client of filippo.io/sunlight (test/interop/static-ct/main.go) with SCTs to look for. */
function readLog(prefix: string, scts: readonly Buffer[], key = keyPath()): Promise<Finished> {
  const input = scts.map((sct) => `${sct.toString('base64')}\n`).join('');
  return run(client, ['-prefix', prefix, '-key', key], { cwd: lab.dir, input });
}

const prefixes: readonly (readonly [string, () => string])[] = [
  ['over HTTP', () => `${ca.url}/ctlog/`],
  // As nginx or an object store would serve it, which know nothing of tiles.
  ['from its directory', () => `file://${logDir()}`],
];

test.each(prefixes)('a static-ct-api client reads and verifies the log %s', async (_, prefix) => {
  const { code, stdout, stderr } = await readLog(prefix(), received.map(sctOf));
  expect([code, stderr]).toEqual([0, '']);
  const { origin, size, root, timestamp, entries, precerts, issuers, included } = JSON.parse(stdout);
  const logOrigin = `${ca.url.replace('http://', '')}/ctlog`;
  const head = openCheckpoint(readFileSync(join(logDir(), 'checkpoint')), {
    origin: logOrigin,
    logKey: createPublicKey(readFileSync(keyPath())),
  });
  expect({ origin, size, root, timestamp }).toEqual({
    origin: logOrigin,
    size: head.size,
    root: Buffer.from(head.root).toString('base64'),
    timestamp: head.timestamp,
  });
  expect({ entries, precerts, issuers }).toEqual({ entries: size, precerts: size, issuers: 2 });
  expect(new Set(included).size).toBe(received.length);
});

describe('the same client refuses', () => {
  test('a checkpoint of another key', async () => {
    const other = join(lab.dir, 'other.pub.pem');
    await mustRun('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'o.key'], {
      cwd: lab.dir,
    });
    await mustRun('openssl', ['ec', '-in', 'o.key', '-pubout', '-out', other], { cwd: lab.dir });
    expect(await readLog(`${ca.url}/ctlog/`, [], other)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('failed to verify checkpoint'),
    });
  });

  test('a data tile with a bit changed', async () => {
    const copy = join(lab.dir, 'copy');
    cpSync(logDir(), copy, { recursive: true });
    const tile = join(copy, 'tile/data/000');
    const bytes = readFileSync(tile);
    bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100);
    writeFileSync(tile, bytes);
    const { code, stderr } = await readLog(`file://${copy}`, []);
    expect(code).toBe(1);
    expect(stderr).toContain('entries:');
  });
});
