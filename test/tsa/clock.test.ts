import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { now, testClock } from './lab.js';

const minute = 60_000;
const unavailable = expect.objectContaining({ code: 'TSA_TIME_UNAVAILABLE' });

/** Lets time pass as the running server sees it: one check a second. */
function run(clock: ReturnType<typeof testClock>, ms: number): void {
  for (let left = ms; left > 0; left -= 1000) {
    clock.pass(Math.min(1000, left));
    clock.guarded.check();
  }
}

describe('a guarded clock', () => {
  test('gives the time of the wall clock', () => {
    const clock = testClock();
    expect(clock.guarded.now()).toBe(now);
    run(clock, 10 * minute);
    expect(clock.guarded.now()).toBe(now + 10 * minute);
    expect(clock.state.jumps).toEqual([]);
  });

  test.each([
    ['forward', 5_000, /jumped forward by 5\.0 s/],
    ['back', -5_000, /jumped back by 5\.0 s/],
  ])('that is set %s gives no time until it was steady for five minutes', (_way, by, message) => {
    const clock = testClock();
    clock.set(by);
    expect(() => clock.guarded.now()).toThrow(unavailable);
    expect(clock.guarded.trouble()).toMatch(message);
    expect(clock.state.jumps).toEqual([by]);
    run(clock, 5 * minute - 1000);
    expect(() => clock.guarded.now()).toThrow(unavailable);
    run(clock, 1000);
    expect(clock.guarded.trouble()).toBeUndefined();
    expect(clock.guarded.now()).toBe(now + by + 5 * minute);
  });

  test('says after how many seconds to ask again', () => {
    const clock = testClock();
    clock.set(5_000);
    clock.guarded.check();
    run(clock, minute);
    expect(() => clock.guarded.now()).toThrow(expect.objectContaining({ retryAfterSeconds: 240 }));
  });

  test('that jumps again waits from the last jump on, also when it jumps to where it was', () => {
    const clock = testClock();
    clock.set(10_000);
    clock.guarded.check();
    run(clock, 4 * minute);
    clock.set(-10_000);
    clock.guarded.check();
    run(clock, 4 * minute);
    expect(() => clock.guarded.now()).toThrow(unavailable);
    run(clock, minute);
    expect(clock.guarded.now()).toBe(now + 9 * minute);
    expect(clock.state.jumps).toEqual([10_000, -10_000]);
  });

  test('may be set by less than the limit once', () => {
    const clock = testClock();
    clock.set(900);
    expect(clock.guarded.now()).toBe(now + 900);
  });

  test('that is set by less than the limit again and again is found out', () => {
    const clock = testClock();
    for (let i = 0; i < 3; i++) {
      clock.set(900);
      run(clock, 10_000);
    }
    expect(() => clock.guarded.now()).toThrow(unavailable);
  });

  test('is followed while it is slewed as NTP does, for days', () => {
    const clock = testClock();
    for (let second = 0; second < 172_800; second++) {
      clock.pass(1000);
      clock.set(second % 2 === 0 ? 0.5 : 0.4);
      clock.guarded.check();
    }
    expect(clock.guarded.trouble()).toBeUndefined();
    expect(clock.state.jumps).toEqual([]);
  });

  test('that slept through a suspend of the machine is held to have jumped', () => {
    const clock = testClock();
    run(clock, minute);
    clock.set(60 * minute);
    clock.guarded.check();
    expect(clock.guarded.trouble()).toMatch(/forward by 3600\.0 s/);
  });

  test('gives no time before one that has passed for certain', () => {
    let lowest = now + 3_000;
    const clock = testClock({ lowest: () => lowest });
    expect(() => clock.guarded.now()).toThrow(unavailable);
    expect(clock.guarded.trouble()).toBe('the clock of this server is 3.0 s behind a time that has passed already');
    lowest = now + 500;
    expect(clock.guarded.now()).toBe(now);
  });

  test('gives no time before one that it gave, however steady', () => {
    const clock = testClock();
    clock.guarded.now();
    clock.set(-60 * minute);
    run(clock, 6 * minute);
    expect(clock.guarded.trouble()).toMatch(/3240\.0 s behind/);
    expect(() => clock.guarded.now()).toThrow(expect.objectContaining({ retryAfterSeconds: 3240 }));
    run(clock, 54 * minute);
    expect(clock.guarded.now()).toBe(now);
  });

  test('never gives a time more than the limit before an earlier one, whatever is done to it', () => {
    const step = fc.record({ pass: fc.nat(400_000), set: fc.integer({ min: -100_000, max: 100_000 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const clock = testClock();
        let last = 0;
        for (const { pass, set } of steps) {
          run(clock, pass);
          clock.set(set);
          let given: number;
          try {
            given = clock.guarded.now();
          } catch {
            continue;
          }
          expect(given).toBeGreaterThanOrEqual(last - 1000);
          last = Math.max(last, given);
        }
      }),
    );
  });
});
