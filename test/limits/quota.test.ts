import { jest } from '@jest/globals';
import fc from 'fast-check';
import { AppError } from '../../src/errors.js';
import { createQuota, type QuotaOptions, type QuotaState } from '../../src/limits/quota.js';

const hour = 3_600_000;
/** The clock of the windows, which never jumps; `jest.setSystemTime` sets the wall clock. */
let monotonic = 0;
beforeEach(() => {
  monotonic = 0;
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function pass(ms: number): void {
  monotonic += ms;
  jest.advanceTimersByTime(ms);
}

const quota = (options: Partial<QuotaOptions> = {}) =>
  createQuota({
    name: 'identity',
    of: 'certificates',
    points: 3,
    windowSeconds: 60,
    maxKeys: 100,
    now: () => monotonic,
    ...options,
  });

/** `ok`, or the seconds after which to try again. */
async function outcome(taken: Promise<void>): Promise<number | 'ok'> {
  try {
    await taken;
    return 'ok';
  } catch (error) {
    if (error instanceof AppError && error.code === 'QUOTA_EXCEEDED') return error.retryAfterSeconds ?? Number.NaN;
    throw error;
  }
}

test('a key gets its number of requests, then none until the window ends', async () => {
  const limit = quota();
  const first = [];
  for (let i = 0; i < 5; i++) first.push(await outcome(limit.take('a')));
  expect(first).toEqual(['ok', 'ok', 'ok', 60, 60]);
  pass(59_000);
  expect(await outcome(limit.take('a'))).toBe(1);
  pass(1001);
  expect(await outcome(limit.take('a'))).toBe('ok');
});

test('keys do not share a limit', async () => {
  const limit = quota({ points: 1 });
  expect([await outcome(limit.take('a')), await outcome(limit.take('b'))]).toEqual(['ok', 'ok']);
  expect(await outcome(limit.take('a'))).toBe(60);
});

test('a refusal says what there were too many of, and how the limit stands', async () => {
  const limit = quota({ points: 1 });
  const states: QuotaState[] = [];
  await limit.take('a', (state) => states.push(state));
  pass(20_000);
  const refused = limit.take('a', (state) => states.push(state));
  await expect(refused).rejects.toMatchObject({
    publicMessage: 'There were too many requests: more than 1 certificates within 60 s; try again in 40 s',
    httpStatus: 429,
    grpcCode: 8,
  });
  expect(states).toEqual([
    { name: 'identity', points: 1, windowSeconds: 60, remaining: 0, resetSeconds: 60 },
    { name: 'identity', points: 1, windowSeconds: 60, remaining: 0, resetSeconds: 40 },
  ]);
});

test.each([
  { name: 'an hour back', jumpMs: -hour },
  { name: 'a second back', jumpMs: -1000 },
  { name: 'years back', jumpMs: -100_000 * hour },
])('a wall clock that is set $name neither lengthens the wait nor gives a second quota', async ({ jumpMs }) => {
  const limit = quota();
  for (let i = 0; i < 3; i++) await limit.take('a');
  jest.setSystemTime(Date.now() + jumpMs);
  expect(await outcome(limit.take('a'))).toBeLessThanOrEqual(60);
  pass(60_001);
  expect(await outcome(limit.take('a'))).toBe('ok');
});

test('a wall clock that is set forward ends the window, and the next one is whole', async () => {
  const limit = quota();
  for (let i = 0; i < 3; i++) await limit.take('a');
  jest.setSystemTime(Date.now() + hour);
  expect(await outcome(limit.take('a'))).toBe('ok');
  for (let i = 0; i < 2; i++) await limit.take('a');
  expect(await outcome(limit.take('a'))).toBe(60);
});

test('ten thousand keys leave no more than may be kept, and the newest are the ones that count', async () => {
  const limit = quota({ points: 1, maxKeys: 1000 });
  for (let i = 0; i < 10_000; i++) await limit.take(`key-${i}`);
  expect(limit.size()).toBe(1000);
  expect(await outcome(limit.take('key-9999'))).toBe(60);
  expect(await outcome(limit.take('key-0'))).toBe('ok');
});

test('keys whose window is over are forgotten when another one comes', async () => {
  const limit = quota();
  for (let i = 0; i < 50; i++) await limit.take(`key-${i}`);
  pass(60_001);
  await limit.take('new');
  expect(limit.size()).toBe(1);
});

test('whatever comes, no key gets more than its number within a window', async () => {
  const step = fc.record({ key: fc.constantFrom('a', 'b', 'c'), waitMs: fc.integer({ min: 0, max: 30_000 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const limit = quota();
      const granted = new Map<string, number[]>();
      for (const { key, waitMs } of steps) {
        pass(waitMs);
        if ((await outcome(limit.take(key))) === 'ok') granted.set(key, [...(granted.get(key) ?? []), monotonic]);
      }
      for (const times of granted.values()) {
        // Two windows can meet, so that any 60 s hold twice the number at most.
        for (const at of times) expect(times.filter((time) => time >= at && time < at + 60_000).length).toBeLessThan(7);
      }
    }),
    { numRuns: 50 },
  );
});
