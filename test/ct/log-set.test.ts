import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import type { Cancellation } from '../../src/cancellation.js';
import type { CtLog, CtLogs, PrecertSubmission, Readiness, Sct } from '../../src/ct/log.js';
import { type LogSetMember, openLogSet } from '../../src/ct/log-set.js';
import { AppError } from '../../src/errors.js';

const submission: PrecertSubmission = {
  precertificate: randomBytes(5),
  chain: [],
  tbs: randomBytes(5),
  issuerKeyHash: randomBytes(32),
};

/** A log that answers when the test says so. */
interface FakeLog extends CtLog {
  readonly signals: (Cancellation | undefined)[];
  ready: Readiness;
  closed: boolean;
  /** Answers the oldest submission that waits. */
  answer(): Promise<void>;
  fail(error: unknown): Promise<void>;
}

const sctOf = (logId: Uint8Array): Sct => ({
  logId,
  timestamp: 1n,
  extensions: new Uint8Array(),
  signature: new Uint8Array(4),
});
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function fakeLog(name: string): FakeLog {
  const waiting: { resolve: (sct: Sct) => void; reject: (error: unknown) => void }[] = [];
  const logId = randomBytes(32);
  return {
    name,
    logId,
    signals: [],
    ready: { ok: true },
    closed: false,
    submit(_submission, signal) {
      this.signals.push(signal);
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        signal?.addEventListener('abort', () => reject(new AppError('CT_LOG_UNAVAILABLE', 'aborted')));
      });
    },
    readiness() {
      return this.ready;
    },
    async close() {
      this.closed = true;
    },
    async answer() {
      waiting.shift()?.resolve(sctOf(logId));
      await settle();
    },
    async fail(error) {
      waiting.shift()?.reject(error);
      await settle();
    },
  };
}

const down = (retryAfterSeconds?: number): AppError =>
  new AppError('CT_LOG_UNAVAILABLE', 'down', retryAfterSeconds === undefined ? {} : { retryAfterSeconds });

let lines: string[];
beforeEach(() => {
  lines = [];
});
const logger = {
  info: (_entry: object, line: string) => void lines.push(line),
  warn: (_entry: object, line: string) => void lines.push(line),
} as never;

function setOf(logs: readonly FakeLog[], required: number, further: readonly FakeLog[] = [], maxUnawaited?: number) {
  const members: LogSetMember[] = [
    ...logs.map((log) => ({ log, embed: true })),
    ...further.map((log) => ({ log, embed: false })),
  ];
  return openLogSet({ members, required, logger, ...(maxUnawaited === undefined ? {} : { maxUnawaited }) });
}

/** Submits; the test looks at a failure later than Node would like. */
function begin(set: CtLogs, signal?: AbortSignal): Promise<readonly Sct[]> {
  const scts = set.submit(submission, signal);
  scts.catch(() => undefined);
  return scts;
}

const three = (): [FakeLog, FakeLog, FakeLog] => [fakeLog('a'), fakeLog('b'), fakeLog('c')];
const idsOf = (scts: readonly Sct[]): Uint8Array[] => scts.map(({ logId }) => logId);

test('every log is asked at once, and the first N SCTs are taken in the order they come', async () => {
  const [a, b, c] = three();
  const scts = begin(setOf([a, b, c], 2));
  expect([a, b, c].map(({ signals }) => signals.length)).toEqual([1, 1, 1]);
  await c.answer();
  await a.answer();
  expect(idsOf(await scts)).toEqual([c.logId, a.logId]);
});

test('a slow log is neither waited for nor aborted, and its SCT changes nothing any more', async () => {
  const [a, b, c] = three();
  const scts = begin(setOf([a, b, c], 1));
  await b.answer();
  const had = await scts;
  expect(a.signals[0]?.aborted).toBe(false);
  await a.answer();
  await c.fail(down());
  expect(idsOf(had)).toEqual([b.logId]);
});

test('N logs that answer are enough, whatever the others do', async () => {
  const [a, b, c] = three();
  const scts = begin(setOf([a, b, c], 2));
  await a.fail(down());
  await b.answer();
  await c.answer();
  expect(idsOf(await scts)).toEqual([b.logId, c.logId]);
});

test('as soon as N cannot be had the submission fails, with the shortest retry time, and the rest is aborted', async () => {
  const [a, b, c] = three();
  const failure = begin(setOf([a, b, c], 2));
  await a.fail(down(30));
  await b.fail(down(7));
  await expect(failure).rejects.toMatchObject({
    code: 'CT_LOG_UNAVAILABLE',
    detail: '2 of 3 logs gave no SCT and 2 must: down; down',
    retryAfterSeconds: 7,
  });
  expect(c.signals[0]?.aborted).toBe(true);
});

test('an error nobody foresaw, from one of several logs, is an unavailable log', async () => {
  const [a, b] = three();
  const failure = begin(setOf([a, b], 2));
  await a.fail(new Error('/secret/path'));
  await expect(failure).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE', retryAfterSeconds: 5 });
  await expect(failure).rejects.toMatchObject({ message: expect.not.stringContaining('secret') });
});

test('a lone log fails with its own error', async () => {
  for (const further of [[], [fakeLog('further')]]) {
    const [a] = three();
    const failure = begin(setOf([a], 1, further));
    const lie = new AppError('CT_LOG_MISBEHAVED', 'a lie');
    await a.fail(lie);
    await expect(failure).rejects.toBe(lie);
  }
});

test('the signal of the request reaches the logs that are waited for, and only those', async () => {
  const [a, b, further] = three();
  const controller = new AbortController();
  const failure = begin(setOf([a, b], 1, [further]), controller.signal);
  controller.abort();
  await expect(failure).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE' });
  expect(a.signals[0]?.aborted).toBe(true);
  expect(further.signals[0]?.aborted).toBe(false);
});

test('a log that is not embedded receives every precertificate, is not waited for and is never embedded', async () => {
  const [a, , further] = three();
  const set = setOf([a], 1, [further]);
  const scts = begin(set);
  await further.answer();
  await a.answer();
  expect(idsOf(await scts)).toEqual([a.logId]);
  const second = begin(set);
  await further.fail(down());
  await a.answer();
  expect(idsOf(await second)).toEqual([a.logId]);
  expect(further.signals).toHaveLength(2);
});

test('what a log that is not embedded missed is told once when it starts and once, counted, when it ends', async () => {
  const [a, , further] = three();
  const set = setOf([a], 1, [further]);
  for (let i = 0; i < 3; i++) {
    const scts = begin(set);
    await further.fail(down());
    await a.answer();
    await scts;
  }
  const last = begin(set);
  await further.answer();
  await a.answer();
  await last;
  expect(lines).toEqual([
    'the log c, not embedded, misses precertificates: down',
    'the log c takes precertificates again; it missed 3',
  ]);
});

test('a log that hangs and is not embedded holds a bounded number of precertificates', async () => {
  const [a, , further] = three();
  const set = setOf([a], 1, [further], 2);
  for (let i = 0; i < 5; i++) {
    const scts = begin(set);
    await a.answer();
    await scts;
  }
  expect(further.signals).toHaveLength(2);
  expect(lines).toEqual(['the log c, not embedded, misses precertificates: 2 are under way already']);
});

test('closing waits for what is under way and closes every log, even when one fails to', async () => {
  const [a, b, further] = three();
  const set = setOf([a, b], 1, [further]);
  const scts = begin(set);
  await a.answer();
  await scts;
  a.close = () => Promise.reject(new Error('cannot close'));
  const closed = set.close();
  closed.catch(() => undefined);
  await settle();
  expect(b.closed).toBe(false);
  await b.answer();
  await further.answer();
  await expect(closed).rejects.toThrow('cannot close');
  expect([b.closed, further.closed]).toEqual([true, true]);
});

test('it is ready while N of the embedding logs are', () => {
  const [a, b, further] = three();
  const set = setOf([a, b], 1, [further]);
  further.ready = { ok: false, reason: 'off' };
  a.ready = { ok: false, reason: 'slow' };
  expect(set.readiness()).toEqual({ ok: true });
  b.ready = { ok: false, reason: 'gone' };
  const reason = '0 of 2 logs can be used and 1 must: a: slow; b: gone';
  expect(set.readiness()).toEqual({ ok: false, reason });
});

test.each([
  ['more SCTs than logs', 3, /3 SCTs are required of 2 logs/],
  ['no SCT', 0, /expected a number from 1 to 2/],
])('%s cannot be required', (_what, required, reason) => {
  const [a, b, further] = three();
  const refusal = { code: 'STARTUP', message: expect.stringMatching(reason) };
  expect(() => setOf([a, b], required, [further])).toThrow(expect.objectContaining(refusal));
});

test('one log cannot be two members', () => {
  const [a, b] = three();
  const twin = { ...b, logId: a.logId };
  expect(() => setOf([a, twin], 1)).toThrow(/a and b have one key, so they are one log/);
});

test('for any order of answers and failures: N SCTs of N different logs, or a failure', async () => {
  const order = fc.integer({ min: 1, max: 5 }).chain((size) =>
    fc.record({
      required: fc.integer({ min: 1, max: size }),
      works: fc.array(fc.boolean(), { minLength: size, maxLength: size }),
      turns: fc.shuffledSubarray([...Array(size).keys()], { minLength: size, maxLength: size }),
    }),
  );
  await fc.assert(
    fc.asyncProperty(order, async ({ required, works, turns }) => {
      const logs = works.map((_, i) => fakeLog(`log ${i}`));
      const outcome = openLogSet({ members: logs.map((log) => ({ log, embed: true })), required, logger })
        .submit(submission)
        .then(idsOf, () => undefined);
      for (const i of turns) await (works[i] ? logs[i]?.answer() : logs[i]?.fail(down()));
      const working = turns.filter((i) => works[i]);
      const expected = working.slice(0, required).map((i) => logs[i]?.logId);
      expect(await outcome).toEqual(working.length >= required ? expected : undefined);
    }),
    { numRuns: 50 },
  );
});
