import { AppError } from '../errors.js';
import type { FlagName } from './flags.js';

/** Where the audit trail goes, and what happens when it cannot be written. */
export interface AuditSettings {
  /** A path, or '-' for standard output. */
  readonly path: string;
  /** Whether a certificate that cannot be recorded is issued all the same. */
  readonly onFailure: 'refuse' | 'warn';
  /** Bytes from which on a new file is begun; Infinity for never. */
  readonly maxBytes: number;
  /** Age at which a new file is begun; Infinity for never. */
  readonly maxAgeMs: number;
  /** Refusals a minute that get a line each. */
  readonly maxRefusals: number;
}

/** How settings are read; see serveConfig. */
interface Reader {
  text(name: FlagName): string;
  optional(name: FlagName): string | undefined;
  duration(name: FlagName): number;
  oneOf<const T extends string>(name: FlagName, allowed: readonly T[]): T;
  isGiven(name: FlagName): boolean;
  source(name: FlagName): string;
  wrong(name: FlagName, expected: string): AppError;
}

const companions = ['audit-failure', 'audit-max-size', 'audit-max-age', 'audit-max-refusals'] as const;
const units: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
};
/** A trail that turns its file over with every request is of no use to anybody. */
const leastBytes = 64 * 1024;

/** The settings of --audit-log and its companions; undefined without it. Throws AppError STARTUP naming the flag. */
export function auditSettings(read: Reader): AuditSettings | undefined {
  const path = read.optional('audit-log');
  if (path === undefined) {
    const stray = companions.find((name) => read.isGiven(name));
    if (stray === undefined) return undefined;
    throw new AppError('STARTUP', `${read.source(stray)} is given, but there is no audit trail without --audit-log`);
  }
  const refusals = read.text('audit-max-refusals');
  if (!/^\d{1,6}$/.test(refusals)) throw read.wrong('audit-max-refusals', 'a number from 0 to 999999');
  return {
    path,
    onFailure: read.oneOf('audit-failure', ['refuse', 'warn']),
    maxBytes: size(read),
    maxAgeMs: read.isGiven('audit-max-age') ? read.duration('audit-max-age') : Number.POSITIVE_INFINITY,
    maxRefusals: Number(refusals),
  };
}

function size(read: Reader): number {
  const [, amount = '', unit = ''] = /^(\d{1,12})([kmg]i?)?b?$/i.exec(read.text('audit-max-size')) ?? [];
  const bytes = amount === '' ? Number.NaN : Number(amount) * (units[unit.toLowerCase()] ?? Number.NaN);
  if (bytes === 0) return Number.POSITIVE_INFINITY;
  if (!(bytes >= leastBytes)) throw read.wrong('audit-max-size', '0, or a size from 64KiB on such as 100MB or 1GiB');
  return bytes;
}
