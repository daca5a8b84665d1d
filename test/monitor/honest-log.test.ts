import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '../ctlog/fixtures.js';
import { FakeLog, monitor, of } from './lab.js';

let directory: ReturnType<typeof temporaryDirectory>;
let log: FakeLog;
let publicKey: string;
let state: string;

beforeEach(async () => {
  directory = temporaryDirectory();
  log = await FakeLog.start();
  publicKey = join(directory.path, 'log.pem');
  state = join(directory.path, 'state.json');
  writeFileSync(publicKey, String(log.publicKey.export({ type: 'spki', format: 'pem' })));
});
afterEach(async () => {
  await log.close();
  directory.dispose();
});

const many = (count: number, name = 'person') => Array.from({ length: count }, (_, i) => of(`${name}${i}@example.com`));

describe.each(['static-ct', 'rfc6962'])('a %s log', (type) => {
  test('every entry is shown once, over several runs and tiles', async () => {
    const seen: number[] = [];
    for (const count of [1, 254, 1, 1, 30, 0, 300]) {
      log.append(...many(count));
      const { code, events, err } = await monitor(log, { publicKey, state, type });
      expect([code, err.includes('INCONSISTENT')]).toEqual([0, false]);
      seen.push(...events.map(({ index }) => index ?? -1));
    }
    expect(seen).toEqual(Array.from({ length: log.size }, (_, i) => i));
  });

  test.each([0, 1, 6, 7, 255, 256, 299, 300])('it is followed from entry %i on', async (from) => {
    log.append(...many(300));
    const { code, events } = await monitor(log, { publicKey, state, type, from: String(from) });
    expect(code).toBe(0);
    expect(events.map(({ index }) => index)).toEqual(Array.from({ length: 300 - from }, (_, i) => from + i));
    log.append(of('later@example.com'));
    expect((await monitor(log, { publicKey, state, type })).events).toMatchObject([{ index: 300 }]);
  });

  test('without --from it is followed from its end, which is said', async () => {
    log.append(...many(5));
    const first = await monitor(log, { publicKey, state, type, from: 'now' });
    expect(first).toMatchObject({ code: 0, events: [] });
    expect(first.err).toContain('followed from entry 5 on (--from 0 for all of them)');
    log.append(of('later@example.com'));
    expect((await monitor(log, { publicKey, state, type, from: 'now' })).events).toMatchObject([{ index: 5 }]);
  });

  test('an empty log is no error, and its first entry is shown', async () => {
    log.append();
    expect(await monitor(log, { publicKey, state, type })).toMatchObject({ code: 0, events: [] });
    log.append(of('first@example.com'));
    expect((await monitor(log, { publicKey, state, type })).events).toMatchObject([{ index: 0 }]);
  });

  test('only what matches is shown', async () => {
    log.append(of('jane@example.com'), of('john@example.com'), of('jane@example.com', 'https://other.example'));
    const wanted = { all: false, identity: ['jane@example.com'], issuer: ['https://issuer.example'] };
    const { events } = await monitor(log, { publicKey, type, ...wanted });
    expect(events).toMatchObject([
      {
        type: 'match',
        index: 0,
        matched: ['identity', 'issuer'],
        certificate: { names: [{ kind: 'email', value: 'jane@example.com' }] },
      },
    ]);
  });

  test('an event has the same id whoever finds it, through either API', async () => {
    log.append(of('jane@example.com'));
    const both = await Promise.all(['static-ct', 'rfc6962'].map((one) => monitor(log, { publicKey, type: one })));
    expect(new Set(both.flatMap(({ events }) => events.map(({ id }) => id))).size).toBe(1);
  });
});

test('what kind of log it is, is found out by asking', async () => {
  log.append(of('jane@example.com'));
  expect((await monitor(log, { publicKey })).err).toContain('(static-ct)');
  log.lie = (path) => (path === 'checkpoint' ? { status: 404 } : undefined);
  expect((await monitor(log, { publicKey })).err).toContain('(rfc6962)');
});

test('a place without a log is said to be one', async () => {
  const nowhere = { url: log.url.replace('/log', '/nothing') };
  const { code, err } = await monitor(nowhere, { publicKey });
  expect(code).toBe(1);
  expect(err).toContain('no transparency log was found at');
});

test('other criteria than before are said not to cover what was read', async () => {
  log.append(of('jane@example.com'));
  await monitor(log, { publicKey, state });
  const { err } = await monitor(log, { publicKey, state, all: false, identity: ['x'] });
  expect(err).toContain('other certificates are looked for than before: entries below 1 are not read again');
});

test('the summary of --once is for programs too', async () => {
  log.append(of('jane@example.com'));
  const { out } = await monitor(log, { publicKey, state });
  expect(JSON.parse(out.trim().split('\n').at(-1) ?? '')).toEqual({
    type: 'summary',
    treeSize: 1,
    checked: 1,
    entries: 1,
    matches: 1,
    inconsistencies: [],
    complete: true,
  });
});

test('memory of a run: nothing is read twice', async () => {
  log.append(...many(300));
  await monitor(log, { publicKey, state });
  log.asked.length = 0;
  await monitor(log, { publicKey, state });
  expect(log.asked.filter((path) => path.includes('tile'))).toEqual([]);
  expect(readFileSync(state, 'utf8')).toContain('"mayfly-monitor/1"');
});
