import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import { encodeSct } from '../../src/ct/sct.js';
import { cosignatureTime, noteBody, parseVerifierKey, readLines } from '../../src/ctlog/witness-note.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir } from './command.js';
import { type Lab, openLab } from './lab.js';
import { type LiteWitness, prepareLiteWitness } from './litewitness.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { certificatesIn, requestV1, type V1Answer } from './v1-client.js';

/** Mayfly's log with a witness that is not ours: litewitness. */

const jane = 'jane@example.com';

let lab: Lab;
let issuer: OidcIssuer;
let witness: LiteWitness;
let ca: CaServer;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  witness = lab.keep(await prepareLiteWitness(lab.dir));
  const policy = join(lab.dir, 'witnesses.policy');
  await writeFile(policy, `witness lite ${witness.vkey} ${witness.url}\ngroup all all lite\nquorum all\n`);
  const flags = ['--ctlog-witness-policy', policy];
  ca = lab.keep(await startCa({ dir: join(lab.dir, 'ca'), config: emailIssuerConfig(issuer.url), log: true, flags }));
});
afterAll(() => lab.close());

const ask = async (): Promise<V1Answer> => {
  const answer = await requestV1(ca.url, await issuer.idToken('account-4711'), jane, 'as cosign 2');
  expect(answer.status).toBe(201);
  return answer;
};

const checkpoint = async (name = 'checkpoint'): Promise<string> => {
  const response = await fetch(`${ca.url}/ctlog/${name}`);
  return response.ok ? response.text() : '';
};

function isCosigned(note: string): boolean {
  const key = parseVerifierKey(witness.vkey);
  return note !== '' && readLines(note).some((line) => cosignatureTime(line, key, noteBody(note)) !== undefined);
}

const sizeOf = (note: string): number => Number(note.split('\n')[1]);

async function untilCosigned(size: number): Promise<string> {
  for (const end = Date.now() + 70_000; ; await sleep(100)) {
    const note = await checkpoint();
    if (sizeOf(note) === size && isCosigned(note)) return note;
    if (Date.now() > end) throw new Error(`no cosignature of size ${size}: ${note}\n${ca.printed()}`);
  }
}

/** The verifier key that the start names for witnesses. */
function logKey(): string {
  const [found] = /127\.0\.0\.1:\d+\/ctlog\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+/.exec(ca.printed()) ?? [];
  if (found === undefined) throw new Error(`the start names no verifier key: ${ca.printed()}`);
  return found;
}

test('without the witness certificates are issued, and the plain checkpoint is served', async () => {
  await ask();
  const note = await checkpoint();
  expect(sizeOf(note)).toBe(1);
  expect(isCosigned(note)).toBe(false);
  expect(await checkpoint('checkpoint.witnessed')).toBe('');
});

test('a witness that knows the announced key cosigns; a restarted one goes on with consistency proofs', async () => {
  const key = logKey();
  const origin = `${new URL(ca.url).host}/ctlog`;
  await witness.start(origin, key);
  await untilCosigned(1);
  await Promise.all(Array.from({ length: 20 }, ask));
  await untilCosigned(21);
  await witness.stop();
  await ask();
  await witness.start(origin, key);
  const note = await untilCosigned(22);
  expect(await checkpoint('checkpoint.witnessed')).toBe(note);
});

test('a static-ct-api client reads a log whose checkpoint has further signatures', async () => {
  const [leaf] = certificatesIn((await ask()).body).map((certificate) => certificate.raw);
  const [sct] = embeddedScts(leaf ?? Buffer.of());
  if (sct === undefined) throw new Error('a certificate without SCT');
  await untilCosigned(23);
  const client = join(lab.dir, 'static-ct');
  const inherited = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? '']));
  const env = { ...inherited, TMPDIR: lab.dir };
  const module = join(projectDir, 'test/interop/static-ct');
  await mustRun('go', ['build', '-o', client, '.'], { cwd: module, env, timeoutMs: 300_000 });
  const args = ['-prefix', `${ca.url}/ctlog/`, '-key', join(ca.trustDir, 'ctlog.pub.pem')];
  const input = `${Buffer.from(encodeSct(sct)).toString('base64')}\n`;
  const found: unknown = JSON.parse((await mustRun(client, args, { cwd: lab.dir, input })).stdout);
  expect(found).toMatchObject({ size: 23, included: [22] });
  const fsck = [join(projectDir, 'dist/main.js'), 'log', 'fsck', `${ca.url}/ctlog`];
  const checked = await mustRun(process.execPath, [...fsck, '--public-key', join(ca.trustDir, 'ctlog.pub.pem')], {
    cwd: lab.dir,
  });
  expect(checked.stdout + checked.stderr).toContain('23');
}, 360_000);
