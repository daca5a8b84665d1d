import { jest } from '@jest/globals';
import { AppError } from '../../src/errors.js';
import { createBodyBudget } from '../../src/limits/body-budget.js';
import { createGate, type GateOptions } from '../../src/limits/gate.js';
import { createPace } from '../../src/limits/pace.js';

let clock = 0;
beforeEach(() => {
  clock = 0;
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

async function pass(ms: number): Promise<void> {
  clock += ms;
  await jest.advanceTimersByTimeAsync(ms);
}

function lab(options: Partial<GateOptions> = {}) {
  const lines: string[] = [];
  const counted = { refusals: 0 };
  const log = (...args: unknown[]): void => void lines.push(String(args[1]));
  const gate = createGate({
    places: 2,
    maxWaiting: 3,
    maxWaitMs: 250,
    standingMs: 200,
    calmMs: 1000,
    now: () => clock,
    random: () => 0,
    pace: { turn: async () => undefined },
    onRefusal: () => counted.refusals++,
    logger: { warn: log, info: log } as unknown as GateOptions['logger'],
    ...options,
  });
  const begun: string[] = [];
  const outcomes: string[] = [];
  const finish = new Map<string, () => void>();
  const controllers = new Map<string, AbortController>();
  const send = (name: string): void => {
    const controller = new AbortController();
    controllers.set(name, controller);
    const work = (): Promise<void> => {
      begun.push(name);
      return new Promise((resolve) => finish.set(name, resolve));
    };
    gate.run(controller.signal, work).then(
      () => outcomes.push(`${name} done`),
      (error: unknown) => outcomes.push(`${name} ${error instanceof AppError ? error.code : String(error)}`),
    );
  };
  return { gate, begun, outcomes, finish, controllers, send, lines, counted };
}

const checked = (gate: { check(): Promise<void> }): Promise<string> =>
  gate.check().then(
    () => 'taken',
    (error: unknown) => (error as AppError).code,
  );

test('what finds no place waits, and begins in the order it came', async () => {
  const { begun, send, finish, outcomes, gate } = lab();
  for (const name of ['a', 'b', 'c', 'd']) send(name);
  await pass(0);
  expect([begun, gate.inWork(), gate.waiting()]).toEqual([['a', 'b'], 2, 2]);
  finish.get('b')?.();
  await pass(0);
  finish.get('a')?.();
  await pass(0);
  expect([begun, outcomes]).toEqual([
    ['a', 'b', 'c', 'd'],
    ['b done', 'a done'],
  ]);
});

test('a wait that is too long is refused, and from then on nothing waits', async () => {
  const { send, outcomes, gate } = lab();
  for (const name of ['a', 'b', 'c']) send(name);
  await pass(250);
  expect(outcomes).toEqual(['c OVERLOADED']);
  expect(await checked(gate)).toBe('OVERLOADED');
  send('d');
  await pass(0);
  expect(outcomes).toEqual(['c OVERLOADED', 'd OVERLOADED']);
});

test('a full queue refuses, before a request is read and after', async () => {
  const { send, outcomes, gate, counted } = lab();
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) send(name);
  await pass(0);
  // Of those that wait, as many stay as there are places.
  expect([outcomes.sort(), gate.waiting()]).toEqual([['e OVERLOADED', 'f OVERLOADED'], 2]);
  expect(await checked(gate)).toBe('OVERLOADED');
  expect(counted.refusals).toBe(3);
});

describe('of many that wait', () => {
  /** Eight at once to two places. */
  function burst() {
    const seen = lab({ maxWaiting: 50, maxWaitMs: 5000 });
    const names = 'abcdefgh'.split('');
    for (const name of names) seen.send(name);
    return { ...seen, end: (name: string): void => seen.finish.get(name)?.() };
  }

  test('those of a queue that stands are refused, though there is room to wait and nobody has waited long', async () => {
    const { send, end, outcomes, begun, gate } = burst();
    for (const [gone, come] of ['ai', 'bj', 'ck', 'dl', 'em'].map((pair) => pair.split(''))) {
      await pass(50);
      end(gone ?? '');
      await pass(0);
      send(come ?? '');
    }
    await pass(0);
    const refused = outcomes.filter((outcome) => outcome.endsWith('OVERLOADED')).length;
    expect([begun, gate.waiting(), refused]).toEqual([['a', 'b', 'c', 'd', 'e', 'f', 'g'], 1, 5]);
  });

  test('none of a burst that is being worked off are, though others come meanwhile', async () => {
    const { send, end, outcomes, gate } = burst();
    for (const gone of 'abcdef') {
      await pass(50);
      end(gone);
    }
    send('i');
    await pass(0);
    end('g');
    await pass(0);
    end('h');
    await pass(0);
    expect([outcomes.filter((outcome) => !outcome.endsWith('done')), gate.waiting(), gate.inWork()]).toEqual([
      [],
      0,
      1,
    ]);
  });
});

test('when a second has passed without a refusal, a burst may wait again', async () => {
  const { send, gate, finish, begun } = lab();
  for (const name of ['a', 'b', 'c']) send(name);
  await pass(250);
  await pass(1000);
  expect(await checked(gate)).toBe('taken');
  send('d');
  finish.get('a')?.();
  await pass(0);
  expect(begun).toEqual(['a', 'b', 'd']);
});

test.each([
  ['its deadline', new AppError('DEADLINE_EXCEEDED', 'x'), 'c DEADLINE_EXCEEDED'],
  ['something else', undefined, 'c DEADLINE_EXCEEDED'],
])('a request that %s ends while it waits is never begun, and gives its turn on', async (_name, reason, outcome) => {
  const { send, controllers, outcomes, begun, finish } = lab();
  for (const name of ['a', 'b', 'c', 'd']) send(name);
  controllers.get('c')?.abort(reason);
  finish.get('a')?.();
  await pass(0);
  expect([begun, outcomes.sort()]).toEqual([
    ['a', 'b', 'd'],
    ['a done', outcome],
  ]);
});

test('work that fails frees its place', async () => {
  const { gate } = lab({ places: 1 });
  const { signal } = new AbortController();
  for (let i = 0; i < 5; i++) {
    await expect(gate.run(signal, () => Promise.reject(new Error('x')))).rejects.toThrow('x');
  }
  expect([gate.inWork(), gate.waiting()]).toEqual([0, 0]);
});

test('an overload is two log lines, however many are refused', async () => {
  const { send, lines } = lab({ maxWaiting: 0 });
  for (let i = 0; i < 500; i++) send(`${i}`);
  await pass(5000);
  expect(lines).toEqual(['more requests than can be worked on: the excess is refused', 'the overload is over']);
});

test('without a bound everything is begun at once', async () => {
  const { send, begun } = lab({ places: Number.POSITIVE_INFINITY });
  for (let i = 0; i < 500; i++) send(`${i}`);
  await pass(0);
  expect(begun).toHaveLength(500);
});

describe('createPace', () => {
  async function released(count: number, passes: number): Promise<number[]> {
    const pace = createPace({ perTick: 3, tickMs: 10, maxHeld: 100 });
    let done = 0;
    for (let i = 0; i < count; i++) void pace.turn().then(() => done++);
    const seen: number[] = [];
    for (let i = 0; i <= passes; i++) {
      await pass(i === 0 ? 0 : 10);
      seen.push(done);
    }
    return seen;
  }

  test('the first ones go at once, the rest tick by tick', async () => {
    expect(await released(8, 3)).toEqual([3, 6, 8, 8]);
  });

  test('beyond what may be held, none is held', async () => {
    expect((await released(110, 0))[0]).toBe(10);
  });
});

describe('createBodyBudget', () => {
  const kib = 1024;

  test('small bodies cost nothing, however many', () => {
    const budget = createBodyBudget(0);
    for (let i = 0; i < 1000; i++) budget.open().add(128 * kib);
  });

  test('large ones share a budget, and give it back', () => {
    const budget = createBodyBudget(1000 * kib);
    const first = budget.open();
    const second = budget.open();
    first.add(1028 * kib);
    expect(() => second.add(229 * kib)).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
    first.close();
    first.close();
    second.add(1);
    expect(() => budget.open().add(2000 * kib)).toThrow(AppError);
    second.close();
    budget.open().add(1128 * kib);
  });
});
