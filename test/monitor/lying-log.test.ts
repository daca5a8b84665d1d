import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { signTreeHead } from '../../src/ctlog/checkpoint.js';
import { findingKinds } from '../../src/monitor/finding.js';
import { newLogKey, temporaryDirectory } from '../ctlog/fixtures.js';
import { FakeLog, headTime, type Lie, monitor, of } from './lab.js';

let directory: ReturnType<typeof temporaryDirectory>;
let log: FakeLog;
let flags: { publicKey: string; state: string };
const others: FakeLog[] = [];

async function other(key = log.key): Promise<FakeLog> {
  const started = await FakeLog.start(key);
  others.push(started);
  return started;
}

beforeEach(async () => {
  directory = temporaryDirectory();
  log = await FakeLog.start();
  flags = { publicKey: join(directory.path, 'log.pem'), state: join(directory.path, 'state.json') };
  writeFileSync(flags.publicKey, String(log.publicKey.export({ type: 'spki', format: 'pem' })));
});
afterEach(async () => {
  for (const started of [log, ...others.splice(0)]) await started.close();
  directory.dispose();
});

const many = (count: number, name = 'person') => Array.from({ length: count }, (_, i) => of(`${name}${i}@example.com`));
const isHead = (path: string): boolean => path === 'checkpoint' || path.endsWith('get-sth');
const isEntries = (path: string): boolean => path.startsWith('tile/data') || path.includes('get-entries');
const types = ['static-ct', 'rfc6962'] as const;

describe.each(types)('a %s log that lies', (type) => {
  const run = (more: object = {}) => monitor(log, { ...flags, type, ...more });
  /** Every head is this one. */
  const show = (head: ReturnType<FakeLog['head']>, from = log): void => {
    log.lie = (path) => {
      if (path === 'checkpoint') return from.checkpoint(head);
      return path === 'ct/v1/get-sth' ? from.sth(head) : undefined;
    };
  };
  const expectFound = (ran: Awaited<ReturnType<typeof run>>, kind: keyof typeof findingKinds) => {
    expect(ran.events.filter((event) => event.type === 'inconsistency')).toMatchObject([{ kind }]);
    expect(ran.code).toBe(findingKinds[kind]);
  };

  test('another tree of the same size is a fork, with both signed heads as evidence', async () => {
    log.append(...many(3));
    await run();
    const forked = (await other()).append(...many(3, 'else'));
    show(forked.head());
    const ran = await run();
    expectFound(ran, 'fork');
    const { sha256_root_hash } = JSON.parse(log.sth(forked.head()));
    expect(ran.events).toMatchObject([{ evidence: { known: { tree_size: 3 }, head: { sha256_root_hash } } }]);
  });

  test('a larger tree without the entries of before is a fork, and nothing of it is shown', async () => {
    log.append(...many(3));
    await run();
    const forked = (await other()).append(...many(300, 'else'));
    const ran = await monitor(forked, { ...flags, type });
    expectFound(ran, 'fork');
  });

  test('a fork is told once, stays the exit code, and the log is followed no further', async () => {
    log.append(...many(3));
    await run();
    const forked = (await other()).append(...many(9, 'else'));
    await monitor(forked, { ...flags, type });
    const again = await monitor(forked, { ...flags, type });
    expect(again).toMatchObject({ code: findingKinds.fork, events: [] });
    expect(again.err).toContain('still inconsistent: fork');
    log.append(of('later@example.com'));
    expect(await run()).toMatchObject({ code: 0, events: [{ type: 'match', index: 3 }] });
  });

  test('a smaller head goes backwards, and one of another tree is a fork', async () => {
    log.append(...many(20));
    await run();
    show(log.head(10));
    const ran = await run();
    expectFound(ran, 'head-backwards');
    expect(ran.out).toContain('an earlier state of the same tree');
    const forked = (await other()).append(...many(10, 'else'));
    show(forked.head());
    expect(await run()).toMatchObject({ code: findingKinds.fork });
  });

  test('a head that is over comes back as news', async () => {
    log.append(...many(20));
    await run();
    for (const expected of [['head-backwards'], []]) {
      show(log.head(10));
      expect((await run()).events.map((event) => event.type === 'inconsistency' && event.kind)).toEqual(expected);
    }
    log.lie = () => undefined;
    expect(await run()).toMatchObject({ code: 0, events: [] });
    show(log.head(10));
    expectFound(await run(), 'head-backwards');
  });

  test('a head signed with another key is told, at the first sight and later', async () => {
    log.append(...many(3));
    const impostor = (await other(newLogKey())).copyOf(log);
    show(impostor.head(), impostor);
    expectFound(await run(), 'wrong-signature');
    log.lie = () => undefined;
    expect(await run()).toMatchObject({ code: 0 });
    show(impostor.head(), impostor);
    expectFound(await run(), 'wrong-signature');
  });

  test('a root hash that the entries do not give', async () => {
    log.append(...many(3));
    const root = createHash('sha256').update('another tree').digest();
    show(signTreeHead({ size: 3, root, timestamp: headTime }, log.key));
    const ran = await run();
    expectFound(ran, 'tree-mismatch');
    expect(ran.events.some(({ type: kind }) => kind === 'match')).toBe(false);
  });

  test('entries that were swapped are not believed, and seen when they are the true ones', async () => {
    log.append(...many(3));
    await run();
    const swapped = (await other()).copyOf(log).append(of('innocent@example.com'));
    log.append(of('culprit@example.com'));
    log.lie = (path) => (isEntries(path) ? swapped : undefined);
    expectFound(await run(), 'tree-mismatch');
    log.lie = () => undefined;
    expect((await run()).events).toMatchObject([{ certificate: { names: [{ value: 'culprit@example.com' }] } }]);
  });

  test.each([
    ['a head that is two days old is stale', -2 * 86_400_000, 'stale-head'],
    ['a head of tomorrow', 86_400_000, 'future-head'],
  ] as const)('%s', async (_name, shift, kind) => {
    log.headTime = headTime + shift;
    log.append();
    expectFound(await run(), kind);
  });

  const garbage: [string, Lie][] = [
    ['text', 'not what was asked for'],
    ['nothing', ''],
    ['JSON of another form', '{"entries":[{"leaf_input":7}],"tree_size":-1}'],
    ['deep JSON', '['.repeat(100_000)],
    ['zeros', Buffer.alloc(2000)],
    ['403', { status: 403 }],
    ['a redirect', { status: 302, headers: { location: 'http://127.0.0.1:9/' } }],
    ['a body without end', 'endless'],
  ];
  test.each(garbage)('%s for entries is malformed, and nothing is lost by it', async (_name, lie) => {
    log.append(...many(2));
    log.lie = (path) => (isEntries(path) ? lie : undefined);
    const ran = await run();
    expect(ran.code).toBe(findingKinds['malformed-answer']);
    log.lie = () => undefined;
    expect((await run()).events).toHaveLength(2);
  });

  test.each(garbage)('%s for a head is malformed', async (_name, lie) => {
    log.append(...many(2));
    await run();
    // The first two are asked for to find the log and its key.
    let heads = 0;
    log.lie = (path) => (isHead(path) && ++heads > 2 ? lie : undefined);
    expect(await run()).toMatchObject({ code: findingKinds['malformed-answer'] });
  });

  test.each([
    ['hangs', 'hang'],
    ['is overloaded', { status: 503, headers: { 'retry-after': '1' } }],
  ] as [string, Lie][])('one that %s is waited for within bounds, and nothing is lost', async (_name, lie) => {
    log.append(...many(2));
    log.lie = (path) => (isEntries(path) ? lie : undefined);
    let now = headTime;
    const wait = async (ms: number): Promise<void> => {
      now += ms;
    };
    const ran = await monitor(log, { ...flags, type, timeout: '30ms' }, { wait, now: () => new Date(now) });
    expect(ran).toMatchObject({ code: 1, events: [] });
    log.lie = () => undefined;
    expect((await run()).events).toHaveLength(2);
  });
});

describe('split views', () => {
  const peerOf = (log: FakeLog, path: string) => ({ peer: [`${log.url}/${path}`] });

  test.each(['checkpoint', 'ct/v1/get-sth'])('another tree shown to a peer is a split view (%s)', async (path) => {
    log.append(...many(5));
    for (const size of [4, 5]) {
      const elsewhere = (await other()).append(...many(size, 'else'));
      const ran = await monitor(log, { publicKey: flags.publicKey, ...peerOf(elsewhere, path) });
      expect(ran.code).toBe(findingKinds['split-view']);
    }
  });

  test('a larger tree that the log does not show us is said, and may only be late', async () => {
    log.append(...many(5));
    const elsewhere = (await other()).append(...many(7, 'else'));
    const ran = await monitor(log, { publicKey: flags.publicKey, ...peerOf(elsewhere, 'checkpoint') });
    expect(ran.code).toBe(0);
    expect(ran.err).toContain('does not give the proof between its head and ours');
  });

  test('a peer that has seen less, as much or more of the same tree agrees', async () => {
    const elsewhere = (await other()).append(...many(5));
    log.copyOf(elsewhere);
    for (const [size, more] of [
      [3, 0],
      [5, 0],
      [5, 2],
    ] as const) {
      log.append(...many(more));
      elsewhere.lie = (path) => (path === 'checkpoint' ? elsewhere.checkpoint(elsewhere.head(size)) : undefined);
      const ran = await monitor(log, { publicKey: flags.publicKey, ...peerOf(elsewhere, 'checkpoint') });
      expect(ran.code).toBe(0);
    }
  });

  test('a peer that is down or another log is said, and is no fault of the log', async () => {
    log.append(...many(2));
    const stranger = (await other(newLogKey())).append(...many(2));
    const ran = await monitor(log, { ...flags, peer: [`${stranger.url}/checkpoint`, `${log.url}/nothing`] });
    expect(ran.code).toBe(0);
    expect(ran.err).toContain("no signature line of this log's key");
    expect(ran.err).toContain('there is no head');
  });
});

test('exit codes are told apart, and the gravest counts', () => {
  const codes = Object.values(findingKinds);
  expect(new Set(codes).size).toBe(codes.length);
  expect(codes).toEqual([...codes].sort((a, b) => a - b));
});
