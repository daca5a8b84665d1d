import type { AppError } from '../errors.js';
import type { Rate } from '../limits/quota.js';
import { parseDuration } from './duration.js';
import type { FlagName } from './flags.js';

/** How many requests are taken, at once and from whom. */
export interface LimitSettings {
  /** Certificate requests in work at once; Infinity for no limit. */
  readonly maxInFlight: number;
  /** Certificates for one identity: issuer and SAN together. */
  readonly identity?: Rate;
  readonly issuer?: Rate;
  /** Requests, granted or not, from one client address. */
  readonly address?: Rate;
}

/** How settings are read; see serveConfig. */
interface Reader {
  text(name: FlagName): string;
  optional(name: FlagName): string | undefined;
  wrong(name: FlagName, expected: string): AppError;
}

/** What decides how many requests are worth working on at once. */
export interface InFlightBasis {
  /** Neither the log nor the CA key is elsewhere: a request then waits for nothing but processors and the local disk. */
  readonly local: boolean;
  readonly processors: number;
}

/** Enough to keep a processor and the log's group commit busy; what is more only waits (docs/limits.md). */
const localPlacesPerProcessor = 32;
/** With a log or a key elsewhere, requests wait for the network, and many have to wait side by side. */
const remotePlaces = 1024;

/** The settings of --max-in-flight and the --limit flags. Throws AppError STARTUP naming the flag. */
export function limitSettings(read: Reader, { local, processors }: InFlightBasis): LimitSettings {
  const auto = local ? localPlacesPerProcessor * Math.max(2, processors) : remotePlaces;
  return {
    maxInFlight: read.text('max-in-flight') === 'auto' ? auto : count(read, 'max-in-flight', 'auto, '),
    ...rate(read, 'identity'),
    ...rate(read, 'issuer'),
    ...rate(read, 'address'),
  };
}

/** Connections that each port takes at once; Infinity for no limit. */
export function maxConnections(read: Reader): number {
  return count(read, 'max-connections', '');
}

function count(read: Reader, name: FlagName, or: string): number {
  const value = read.text(name);
  if (!/^\d{1,6}$/.test(value)) throw read.wrong(name, `${or}0 for no limit, or a number up to 999999`);
  return value === '0' ? Number.POSITIVE_INFINITY : Number(value);
}

const longestWindowSeconds = 86_400;

function rate<const N extends 'identity' | 'issuer' | 'address'>(read: Reader, name: N): { [P in N]?: Rate } {
  const flag = `limit-${name}` as const;
  const value = read.optional(flag);
  if (value === undefined) return {};
  const [, points = '', window = ''] = /^(\d{1,9})\/(.*)$/.exec(value) ?? [];
  const windowSeconds = (parseDuration(/^\d/.test(window) ? window : `1${window}`) ?? Number.NaN) / 1000;
  const whole = Number.isInteger(windowSeconds) && windowSeconds >= 1 && windowSeconds <= longestWindowSeconds;
  if (!(Number(points) >= 1 && whole)) {
    throw read.wrong(flag, 'a number and a window of whole seconds up to 24h, such as 60/1m, 1000/h or 5/30s');
  }
  return { [name]: { points: Number(points), windowSeconds } } as { [P in N]?: Rate };
}
