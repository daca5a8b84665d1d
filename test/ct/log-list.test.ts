import { createPublicKey, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import { logIdOf } from '../../src/ct/sct.js';
import { decodePem } from '../../src/x509/pem.js';
import { type FakeLog, startFakeLog } from '../attacks/fake-log.js';
import { claims, closeAll, issuerUrl, jwt, keep, type Lab, openLab } from '../attacks/lab.js';

/** A list of logs that changes: shards by time, reloads, and what clients are told of logs that were used before. */

const identity = {
  'oidc-issuers': {
    [issuerUrl]: { 'client-id': 'sigstore', type: 'username', 'subject-domain': 'example.com', 'jwks-file': 'KEYS' },
  },
};
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mayfly-log-list-'));
});
afterEach(async () => {
  await closeAll();
  rmSync(dir, { recursive: true, force: true });
});

interface Entry {
  readonly log: FakeLog;
  readonly interval?: Readonly<Record<string, string>>;
}

const file = (): string => join(dir, 'logs.json');
const start = async (): Promise<FakeLog> => keep(await startFakeLog());
const idOf = (log: FakeLog): string => Buffer.from(logIdOf(keyOf(log))).toString('base64');
const keyOf = (log: FakeLog): KeyObject => createPublicKey(log.publicKeyPem);
const at = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString();

function write(entries: readonly Entry[], more: object = {}): void {
  const logs = entries.map(({ log, interval }) => ({
    url: log.url,
    public_key: log.publicKeyPem,
    timeout: '2s',
    ...(interval === undefined ? {} : { temporal_interval: interval }),
  }));
  writeFileSync(file(), JSON.stringify({ logs, ...more }));
}

const serve = (more: Readonly<Record<string, string>> = {}): Promise<Lab> =>
  openLab(identity, { flags: { 'ct-logs-config': file(), ...more } });

/** The logs of the SCTs in a new certificate, or the HTTP status of the refusal. */
async function issue(lab: Lab): Promise<string[] | number> {
  const answer = await lab.ask(jwt(claims()));
  if (answer.status !== 200) return answer.status;
  const { chain } = Object.values(JSON.parse(answer.text))[0] as { chain: { certificates: [string] } };
  const scts = embeddedScts(decodePem(chain.certificates[0], ['CERTIFICATE']).der);
  return scts.map(({ logId }) => Buffer.from(logId).toString('base64'));
}

interface TrustedLog {
  readonly logId: { keyId: string };
  readonly publicKey: { validFor: { end?: string } };
}

async function trusted(lab: Lab): Promise<Map<string, string | undefined>> {
  const root = (await (await fetch(`${lab.server.url}/trust/trusted_root.json`)).json()) as { ctlogs: TrustedLog[] };
  return new Map(root.ctlogs.map(({ logId, publicKey }) => [logId.keyId, publicKey.validFor.end]));
}

const readyz = async (lab: Lab): Promise<number> => (await fetch(`${lab.server.url}/readyz`)).status;
const metricsOf = async (lab: Lab): Promise<string> => (await fetch(lab.server.metricsUrl)).text();

async function until(what: string, happened: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 8000; !(await happened()); await new Promise((done) => setTimeout(done, 10))) {
    if (Date.now() > end) throw new Error(`did not happen: ${what}`);
  }
}

test('only the shard that a certificate falls into is sent it', async () => {
  const [past, now, coming] = [await start(), await start(), await start()];
  write([
    { log: past, interval: { end: at(-1) } },
    { log: now, interval: { start_inclusive: at(-1), end_exclusive: at(1) } },
    { log: coming, interval: { start: at(1), end: at(2) } },
  ]);
  const lab = await serve();
  expect(await issue(lab)).toEqual([idOf(now)]);
  expect([past.submitted.length, now.submitted.length, coming.submitted.length]).toEqual([0, 1, 0]);
  expect(await readyz(lab)).toBe(200);
  expect((await trusted(lab)).size).toBe(3);
});

test('when no shard fits there is no certificate and the server is not ready, until the list names one', async () => {
  const [past, now] = [await start(), await start()];
  write([{ log: past, interval: { start: at(-9), end: at(-1) } }]);
  const lab = await serve();
  expect(await readyz(lab)).toBe(503);
  expect(await issue(lab)).toBe(503);
  write([
    { log: past, interval: { start: at(-9), end: at(-1) } },
    { log: now, interval: { start: at(-1), end: at(9) } },
  ]);
  lab.server.reload('test');
  await until('ready', async () => (await readyz(lab)) === 200);
  expect(await issue(lab)).toEqual([idOf(now)]);
});

test('a changed list is read by itself; clients know the new log before its first SCT and the old one for good', async () => {
  const [first, second] = [await start(), await start()];
  write([{ log: first }]);
  const lab = await serve();
  expect(await issue(lab)).toEqual([idOf(first)]);
  write([{ log: second }]);
  await until('the second log', async () => {
    const logs = await issue(lab);
    const known = await trusted(lab);
    for (const id of Array.isArray(logs) ? logs : []) expect(known.has(id)).toBe(true);
    return Array.isArray(logs) && logs.includes(idOf(second));
  });
  await until('an end of the first', async () => (await trusted(lab)).get(idOf(first)) !== undefined);
  const known = await trusted(lab);
  expect([...known.keys()]).toEqual([idOf(second), idOf(first)]);
  expect(known.get(idOf(second))).toBeUndefined();
  expect(Date.parse(known.get(idOf(first)) ?? '')).toBeGreaterThan(Date.now());
});

test.each<[string, (log: FakeLog) => string]>([
  ['no YAML', () => '{'],
  ['no logs', () => '{"logs": []}'],
  ['an unknown setting', () => '{"logs": [], "requires": 1}'],
  [
    'the same log twice',
    (log) => JSON.stringify({ logs: [1, 2].map(() => ({ url: log.url, 'public-key': log.publicKeyPem })) }),
  ],
  [
    'more required than named',
    (log) => JSON.stringify({ required: 2, logs: [{ url: log.url, 'public-key': log.publicKeyPem }] }),
  ],
  ['a key file that is not there', (log) => JSON.stringify({ logs: [{ url: log.url, 'public-key': 'gone.pem' }] })],
  ['our own log', () => '{"logs": [{"embedded": true}]}'],
])('a list with %s is refused and the old one stays', async (_what, text) => {
  const [log, other] = [await start(), await start()];
  write([{ log }]);
  const lab = await serve();
  writeFileSync(file(), text(other));
  lab.server.reload('test');
  await until('the refusal', async () =>
    /mayfly_ct_logs_config_reloads_total\{result="refused"\} [1-9]/.test(await metricsOf(lab)),
  );
  expect(await issue(lab)).toEqual([idOf(log)]);
  expect([...(await trusted(lab)).keys()]).toEqual([idOf(log)]);
});

test('certificates go on without a gap while the list is changed again and again', async () => {
  const logs = [await start(), await start(), await start()];
  write([{ log: logs[0] as FakeLog }]);
  const lab = await serve();
  let done = false;
  const asking = (async () => {
    const seen: (string[] | number)[] = [];
    while (!done) seen.push(...(await Promise.all([issue(lab), issue(lab), issue(lab)])));
    return seen;
  })();
  for (let i = 1; i < 10; i++) {
    const log = logs[i % 3] as FakeLog;
    const before = log.submitted.length;
    write([{ log }]);
    lab.server.reload('test');
    await until('a submission to the new log', async () => log.submitted.length > before);
  }
  done = true;
  const seen = await asking;
  expect(seen.filter((one) => !Array.isArray(one))).toEqual([]);
  expect(new Set(seen.flat()).size).toBe(3);
});

test('submissions are counted for each log by how they ended', async () => {
  const [good, bad] = [await start(), await start()];
  bad.behave({ answer: (response) => response.writeHead(400).end() });
  write([{ log: good }, { log: bad }]);
  const lab = await serve();
  expect(await issue(lab)).toEqual([idOf(good)]);
  const count = (log: FakeLog, result: string) =>
    `mayfly_ct_log_submissions_total{log="${log.url}",result="${result}"} 1`;
  await until('both counted', async () => {
    const text = await metricsOf(lab);
    return text.includes(count(good, 'sct')) && text.includes(count(bad, 'refused'));
  });
  const text = await metricsOf(lab);
  expect(text).toContain(`mayfly_ct_log_circuit_open{log="${good.url}"} 0`);
  expect(text).toContain(`mayfly_ct_log_submission_seconds_count{log="${good.url}"} 1`);
});

test('the record of logs names key, URL and first use', async () => {
  const log = await start();
  write([{ log }]);
  const lab = await serve();
  const record = JSON.parse(readFileSync(join(lab.server.dataDir, 'published-logs.json'), 'utf8')) as object;
  expect(record).toMatchObject({ format: 1, logs: [{ url: log.url, firstUse: expect.any(String) }] });
});

test('an operator who moves from the embedded log to another one and back: clients keep all keys', async () => {
  const log = await start();
  const data = { 'data-dir': join(dir, 'data') };
  const first = await openLab(identity, { flags: data });
  const [own = ''] = (await issue(first)) as string[];
  expect([...(await trusted(first)).keys()]).toEqual([own]);
  await first.server.close();

  write([{ log }]);
  const second = await serve(data);
  expect(await issue(second)).toEqual([idOf(log)]);
  const moved = await trusted(second);
  expect([...moved.keys()]).toEqual([idOf(log), own]);
  expect(Date.parse(moved.get(own) ?? '')).toBeGreaterThan(Date.now());
  await second.server.close();

  const third = await openLab(identity, { flags: { ...data, 'ct-log-url': '' } });
  expect([...(await trusted(third)).values()].filter((end) => end === undefined)).toEqual([]);
  expect((await trusted(third)).size).toBe(2);
  await third.server.close();

  const fourth = await openLab(identity, { flags: data });
  expect(await issue(fourth)).toEqual([own]);
  const back = await trusted(fourth);
  expect([...back.keys()]).toEqual([own, idOf(log)]);
  expect(back.get(own)).toBeUndefined();
});
