import { AppError } from '../errors.js';

/** A wall clock that is compared to one that nobody can set. */
export interface GuardedClock {
  /** Milliseconds since the epoch. Throws AppError TSA_TIME_UNAVAILABLE while the clock is not to be trusted. */
  now(): number;
  /** Compares the two clocks now; to be called about every second. */
  check(): void;
  /** Why there is no time now; undefined while there is. */
  trouble(): string | undefined;
}

export interface GuardedClockOptions {
  /** The wall clock, in milliseconds since the epoch. */
  readonly clock: () => number;
  /** A clock that only ever runs forward, in milliseconds since any instant. */
  readonly monotonic: () => number;
  /** How far the wall clock may be set, at once or bit by bit, before there is no time, in milliseconds. */
  readonly limitMs: number;
  /** How long the two must agree again before there is time, in milliseconds. */
  readonly steadyMs: number;
  /** A time that has certainly passed, in milliseconds since the epoch. */
  readonly lowest: () => number;
  /** Told of every jump: by how much, in milliseconds, forward or (negative) back. */
  readonly onJump: (byMs: number) => void;
}

/** NTP may slew a clock by half a millisecond per second, and clocks of different quartzes part more slowly than that. */
const maxSlew = 0.0005;

/**
 * Watches a wall clock. A step beyond the limit stops it until both clocks have agreed for `steadyMs`; a further step
 * starts that time anew. It is stopped too while it is behind `lowest` or behind a time it gave, by more than the limit.
 */
export function guardClock(options: GuardedClockOptions): GuardedClock {
  const { clock, monotonic, limitMs, steadyMs, lowest, onJump } = options;
  let checkedAt = monotonic();
  /** Wall clock minus monotonic clock. */
  let offset = clock() - checkedAt;
  let jump: { readonly byMs: number; readonly at: number } | undefined;
  let lastGiven = Number.NEGATIVE_INFINITY;

  const check = (): void => {
    const at = monotonic();
    const moved = clock() - at - offset;
    const slew = (at - checkedAt) * maxSlew;
    checkedAt = at;
    if (Math.abs(moved) - slew <= limitMs) {
      // Followed no faster than a slewing clock goes, so that many small steps add up to a large one.
      offset += Math.max(-slew, Math.min(slew, moved));
      if (jump !== undefined && at - jump.at >= steadyMs) jump = undefined;
      return;
    }
    offset += moved;
    jump = { byMs: moved, at };
    onJump(moved);
  };
  const behind = (): number => Math.max(lastGiven, lowest()) - clock();

  return {
    check,
    now() {
      check();
      const reason = troubleOf(jump, behind(), limitMs);
      if (reason !== undefined) {
        const waitMs = jump === undefined ? behind() : steadyMs - (monotonic() - jump.at);
        throw new AppError('TSA_TIME_UNAVAILABLE', reason, {
          retryAfterSeconds: Math.ceil(Math.max(1, waitMs / 1000)),
        });
      }
      lastGiven = Math.max(lastGiven, clock());
      return clock();
    },
    trouble: () => troubleOf(jump, behind(), limitMs),
  };
}

function troubleOf(jump: { readonly byMs: number } | undefined, behindMs: number, limitMs: number): string | undefined {
  if (jump !== undefined) {
    const way = jump.byMs > 0 ? 'forward' : 'back';
    return `the clock of this server jumped ${way} by ${seconds(jump.byMs)} and has not been steady for long enough since`;
  }
  if (behindMs > limitMs)
    return `the clock of this server is ${seconds(behindMs)} behind a time that has passed already`;
  return undefined;
}

function seconds(ms: number): string {
  return `${(Math.abs(ms) / 1000).toFixed(1)} s`;
}
