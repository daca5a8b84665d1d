import fc from 'fast-check';
import { type Breaker, type BreakerChange, createBreaker, failuresToOpen, type Outcome } from '../../src/ct/breaker.js';

let now: number;
let changes: BreakerChange[];

beforeEach(() => {
  now = 1_700_000_000_000;
  changes = [];
});

const breaker = (random = () => 0): Breaker =>
  createBreaker({ clock: () => now, random, onChange: (change) => changes.push(change) });

function call(one: Breaker, outcome: Outcome): void {
  const admission = one.admit();
  if (!admission.admitted) throw new Error('the call was not let through');
  admission.report(outcome);
}

function opened(one = breaker()): Breaker {
  for (let i = 0; i < failuresToOpen; i++) call(one, 'failed');
  return one;
}

test('five failures in a row stop the calls for five seconds', () => {
  const one = opened();
  expect(one.admit()).toEqual({ admitted: false, retryAfterMs: 5000 });
  expect(changes).toEqual([{ to: 'open', failures: 5, pauseMs: 5000 }]);
  now += 4000;
  expect(one.admit()).toEqual({ admitted: false, retryAfterMs: 1000 });
});

test('a success between them starts the count again', () => {
  const one = breaker();
  for (let i = 0; i < 20; i++) call(one, i % failuresToOpen === 0 ? 'succeeded' : 'failed');
  expect(changes).toEqual([]);
});

test('what says nothing about the other side counts neither way', () => {
  const one = breaker();
  for (let i = 0; i < failuresToOpen - 1; i++) call(one, 'failed');
  for (let i = 0; i < 10; i++) call(one, 'unknown');
  expect(one.pauseMs()).toBe(0);
  call(one, 'failed');
  expect(one.pauseMs()).toBe(5000);
});

test('after the pause one call at a time is let through, and its success closes the circuit', () => {
  const one = opened();
  now += 5000;
  const probe = one.admit();
  expect(one.admit()).toMatchObject({ admitted: false });
  if (probe.admitted) probe.report('succeeded');
  expect(changes.at(-1)).toEqual({ to: 'closed' });
  call(one, 'failed');
  expect(one.pauseMs()).toBe(0);
});

test('a probe that fails doubles the pause, up to thirty seconds; afterwards it is five again', () => {
  const one = opened();
  const pauses: number[] = [];
  for (let i = 0; i < 5; i++) {
    now += one.pauseMs();
    call(one, 'failed');
    pauses.push(one.pauseMs());
  }
  expect(pauses).toEqual([10_000, 20_000, 30_000, 30_000, 30_000]);
  now += one.pauseMs();
  call(one, 'succeeded');
  expect(opened(one).pauseMs()).toBe(5000);
});

test('a probe that was given up makes room for the next', () => {
  const one = opened();
  now += 5000;
  call(one, 'unknown');
  expect(one.admit().admitted).toBe(true);
});

test('failures of calls that were under way when the circuit opened do not prolong the pause', () => {
  const one = breaker();
  const calls = Array.from({ length: 50 }, () => one.admit());
  for (const admission of calls) if (admission.admitted) admission.report('failed');
  expect(one.pauseMs()).toBe(5000);
  expect(changes).toHaveLength(1);
});

test('jitter shortens a pause by at most a quarter', () => {
  expect(opened(breaker(() => 1)).pauseMs()).toBe(3750);
});

test('a clock that steps back does not keep the circuit open', () => {
  const one = opened();
  now -= 3_600_000;
  expect(one.admit().admitted).toBe(true);
});

test('whatever happens, calls are let through again within thirty seconds', () => {
  const outcome = fc.constantFrom<Outcome>('succeeded', 'failed', 'unknown');
  fc.assert(
    fc.property(fc.array(fc.tuple(outcome, fc.nat(10_000)), { maxLength: 100 }), (steps) => {
      const one = breaker();
      for (const [how, ms] of steps) {
        now += ms;
        const admission = one.admit();
        if (admission.admitted) admission.report(how);
      }
      now += 30_000;
      return one.admit().admitted;
    }),
  );
});
