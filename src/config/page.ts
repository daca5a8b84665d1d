import { AppError } from '../errors.js';
import type { FlagName } from './flags.js';

/** Where the page is, if not on the HTTP port. */
export interface PageSettings {
  readonly listener?: { readonly host: string; readonly port: number };
}

interface Reader {
  boolean(name: FlagName): boolean;
  isGiven(name: FlagName): boolean;
  source(name: FlagName): string;
  optional(name: FlagName): string | undefined;
  text(name: FlagName): string;
  port(name: FlagName): number;
}

/** Reads --page, --page-host and --page-port; undefined without --page. Throws AppError STARTUP. */
export function pageSettings(read: Reader): PageSettings | undefined {
  const [isOn, hasPort] = [read.boolean('page'), read.isGiven('page-port')];
  if (!hasPort && read.isGiven('page-host')) {
    throw new AppError('STARTUP', `${read.source('page-host')} is the address of --page-port, which is missing`);
  }
  if (!isOn && hasPort) {
    throw new AppError('STARTUP', `${read.source('page-port')} is where the page is, and there is none without --page`);
  }
  if (!isOn) return undefined;
  const host = read.optional('page-host') ?? read.text('host');
  return hasPort ? { listener: { host, port: read.port('page-port') } } : {};
}
