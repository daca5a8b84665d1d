import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorSettings } from '../../src/cli/monitor-options.js';
import { catchUpProgress } from '../../src/cli/monitor-progress.js';
import { newLogKey, temporaryDirectory } from '../ctlog/fixtures.js';
import { FakeLog, flagDefaults, headTime, monitor, of } from '../monitor/lab.js';

let directory: ReturnType<typeof temporaryDirectory>;
let publicKey: string;
let log: FakeLog;

beforeEach(async () => {
  directory = temporaryDirectory();
  log = await FakeLog.start();
  publicKey = join(directory.path, 'log.pem');
  writeFileSync(publicKey, String(log.publicKey.export({ type: 'spki', format: 'pem' })));
});
afterEach(async () => {
  await log.close();
  directory.dispose();
});

test.each<[string, object, string]>([
  ['no key', { publicKey: undefined }, 'by which key are the heads of https://log.example to be checked'],
  ['a key that is not there', { publicKey: '/nowhere' }, '--public-key: /nowhere cannot be used: ENOENT'],
  ['a type that is none', { type: 'rfc9162' }, '--type: is "rfc9162"; expected auto, static-ct or rfc6962'],
  ['a beginning that is none', { from: '-1' }, '--from: is "-1"; expected a whole number from 0 to'],
  ['a pause that is none', { interval: 'soon' }, '--interval: is "soon"; expected a duration such as 90s'],
  ['an extension without a value', { extension: ['source-repository-uri'] }, 'expected NAME=VALUE'],
  ['an extension that is unknown', { extension: ['repo=x'] }, 'there is no extension "repo"; expected one of issuer'],
  ['a regular expression that is none', { identityRegexp: ['(a'] }, 'the regular expression "(a" cannot be used'],
  ['a flag in a regular expression', { issuerRegexp: ['(?i)x'] }, 'expected --ignore-case'],
  ['a webhook that is no URL', { webhook: 'ftp://x' }, '--webhook is "ftp://x"; expected an http or https URL'],
  ['a secret without a webhook', { webhookSecretFile: 'x' }, 'is given without --webhook'],
  ['a CA that is none', { issuingCa: ['/nowhere'] }, '--issuing-ca: /nowhere cannot be used'],
  ['no requests at all', { rate: '0' }, '--rate: is "0"; expected a whole number from 1 to 1000'],
])('%s is a mistake that is named', (_name, flags, message) => {
  expect(() => monitorSettings('https://log.example', { ...flagDefaults, publicKey, ...flags })).toThrow(message);
});

test('the key may be one of several in a trusted root', async () => {
  log.append(of('jane@example.com'));
  const trustedRoot = join(directory.path, 'trusted_root.json');
  const rawBytes = (key: FakeLog) => key.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
  const ctlogs = [new FakeLog(newLogKey()), log].map((one) => ({
    baseUrl: 'https://log.example',
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: rawBytes(one), keyDetails: 'PKIX_ECDSA_P256_SHA_256' },
  }));
  const certificateAuthorities = [{ certChain: { certificates: [{ rawBytes: 'MAA=' }] } }];
  writeFileSync(trustedRoot, JSON.stringify({ ctlogs, certificateAuthorities }));
  expect((await monitor(log, { trustedRoot })).events).toHaveLength(1);
});

test('metrics and the head are served while it runs, and the head is one that a peer understands', async () => {
  log.append(of('jane@example.com'), of('john@example.com'));
  const stop = new AbortController();
  const seen: string[] = [];
  let said = '';
  const wait = async (ms: number): Promise<void> => {
    if (ms < 1_000_000) return;
    const base = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0] ?? '';
    for (const path of ['metrics', 'head', 'other']) seen.push(await (await fetch(`${base}/${path}`)).text());
    const peer = await monitor(log, { publicKey, peer: [`${base}/head`] });
    expect([peer.code, peer.err.includes('/head')]).toEqual([0, false]);
    stop.abort();
    throw new Error('stopped');
  };
  const err = (text: string): void => {
    said += text;
  };
  const flags = { publicKey, once: false, interval: '1h', metricsPort: '0' };
  expect((await monitor(log, flags, { wait, err, signal: stop.signal })).code).toBe(0);
  const [metrics = '', head = '', other] = seen;
  for (const line of [
    'mayfly_monitor_matches_total 2',
    'mayfly_monitor_tree_size 2',
    'mayfly_monitor_checked_entries 2',
    'mayfly_monitor_inconsistent 0',
    `mayfly_monitor_tree_head_timestamp_seconds ${headTime / 1000}`,
    'mayfly_monitor_inconsistencies_total{kind="fork"} 0',
    'mayfly_monitor_deliveries_total{sink="terminal",result="delivered"} 2',
  ]) {
    expect(metrics).toContain(`${line}\n`);
  }
  expect(JSON.parse(head)).toMatchObject({ tree_size: 2 });
  expect(other).toContain('/metrics and /head');
});

describe('the progress of a long catch-up', () => {
  function lab(interactive: boolean) {
    let now = 0;
    let said = '';
    const err = (text: string): void => {
      said += text;
    };
    const progress = catchUpProgress({ err, interactive, clock: () => now });
    const at = (ms: number, checked: number): void => {
      now = ms;
      progress.update(checked, 100_000);
    };
    return { at, end: progress.end, said: () => said };
  }

  test('on a terminal is one line with speed and time left', () => {
    const { at, end, said } = lab(true);
    at(0, 50_000);
    at(100, 50_100);
    at(10_000, 60_000);
    expect(said()).toBe('\rentry 60000 of 100000 (60 %, 1000/s, 40 s left)\u001b[K');
    end();
    expect(said().endsWith('\r\u001b[K')).toBe(true);
  });

  test('in a file is a line every half minute', () => {
    const { at, said } = lab(false);
    at(0, 0);
    at(29_000, 100);
    at(31_000, 310);
    at(40_000, 400);
    expect(said()).toBe('mayfly monitor: entry 310 of 100000 (0 %, 10/s, 2 h 46 min left)\n');
  });
});
