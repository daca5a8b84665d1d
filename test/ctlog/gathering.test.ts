import { jest } from '@jest/globals';
import { Gathering } from '../../src/ctlog/gathering.js';

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** A gathering whose queue and requests under way the test sets; `batches` are the times at which one was made. */
function gathering(state: { queue: number; underWay: number }) {
  const made = new Gathering({ gatherMs: 10, maxBatch: 5, underWay: () => state.underWay });
  const batches: number[] = [];
  const begin = performance.now();
  return {
    made,
    batches,
    batch: () => made.batch(() => state.queue).then(() => void batches.push(performance.now() - begin)),
    pass: (ms: number) => jest.advanceTimersByTimeAsync(ms),
  };
}

test('the first batch, and one that comes long after another, do not wait', async () => {
  const { batch, batches, pass } = gathering({ queue: 1, underWay: 9 });
  await batch();
  await pass(10);
  await batch();
  expect(batches).toEqual([0, 10]);
});

test('a batch soon after another waits for those that are under way, ten milliseconds after it at most', async () => {
  const state = { queue: 1, underWay: 9 };
  const { batch, batches, pass, made } = gathering(state);
  await batch();
  await pass(3);
  void batch();
  await pass(4);
  state.queue = 2;
  made.joined(2);
  expect(batches).toEqual([0]);
  await pass(10);
  expect(batches).toEqual([0, 10]);
});

test.each([
  ['all are there', { queue: 2, underWay: 2 }],
  ['the batch is full', { queue: 5, underWay: 9 }],
])('it ends when %s', async (_name, then) => {
  const state = { queue: 1, underWay: then.underWay };
  const { batch, batches, pass, made } = gathering(state);
  await batch();
  void batch();
  await pass(2);
  Object.assign(state, then);
  made.joined(state.queue);
  await pass(0);
  expect(batches).toEqual([0, 2]);
});

test('a request that is alone never waits, nor does an empty queue', async () => {
  const state = { queue: 1, underWay: 1 };
  const { batch, batches } = gathering(state);
  await batch();
  await batch();
  Object.assign(state, { queue: 0, underWay: 9 });
  await batch();
  expect(batches).toEqual([0, 0, 0]);
});

test('those that a whole wait did not bring are not waited for again, others are', async () => {
  const state = { queue: 1, underWay: 3 };
  const { batch, batches, pass } = gathering(state);
  await batch();
  void batch();
  await pass(10);
  await batch();
  expect(batches).toEqual([0, 10, 10]);
  state.underWay = 4;
  void batch();
  await pass(20);
  expect(batches).toEqual([0, 10, 10, 20]);
});

test('a short wait that brings nobody says nothing about the next', async () => {
  const { batch, batches, pass } = gathering({ queue: 1, underWay: 3 });
  await batch();
  await pass(8);
  void batch();
  await pass(2);
  void batch();
  await pass(10);
  expect(batches).toEqual([0, 10, 20]);
});

test('closing ends the wait, and there is none after it', async () => {
  const { batch, batches, pass, made } = gathering({ queue: 1, underWay: 9 });
  await batch();
  void batch();
  await pass(1);
  made.close();
  await pass(0);
  await batch();
  expect(batches).toEqual([0, 1, 1]);
});
