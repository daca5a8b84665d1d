import { signalOf, TimeLimit } from '../src/cancellation.js';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('a time limit tells its listeners once, but none that left', async () => {
  const limit = new TimeLimit(10);
  const told: string[] = [];
  const left = (): void => void told.push('left');
  limit.addEventListener('abort', () => told.push('stayed'));
  limit.addEventListener('abort', left);
  limit.removeEventListener('abort', left);
  limit.removeEventListener('abort', () => undefined);
  expect(limit.aborted).toBe(false);
  expect(limit.reason).toBeUndefined();
  await sleep(40);
  expect(told).toEqual(['stayed']);
  expect(limit.aborted).toBe(true);
  expect(limit.reason).toMatchObject({ name: 'TimeoutError', message: 'the limit of 10 ms is over' });
});

test('one that was ended in time never tells', async () => {
  const limit = new TimeLimit(10);
  limit.addEventListener('abort', () => {
    throw new Error('told');
  });
  limit.end();
  await sleep(30);
  expect(limit.aborted).toBe(false);
});

test('as a signal it aborts with the limit, whenever the signal was made', async () => {
  const limit = new TimeLimit(10);
  const before = signalOf(limit);
  expect(before.aborted).toBe(false);
  await sleep(40);
  expect(before.aborted).toBe(true);
  expect(before.reason).toBe(limit.reason);
  expect(signalOf(limit).aborted).toBe(true);
  expect(signalOf(limit).reason).toBe(limit.reason);
});

test('an AbortSignal is itself', () => {
  const { signal } = new AbortController();
  expect(signalOf(signal)).toBe(signal);
});
