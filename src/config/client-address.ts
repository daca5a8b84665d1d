import { type AddressRange, parseAddressRange } from '../client-address.js';
import { AppError } from '../errors.js';
import type { FlagName } from './flags.js';

/** How settings are read; see serveConfig. */
interface Reader {
  list(name: FlagName): readonly string[] | undefined;
  oneOf<const T extends string>(name: FlagName, allowed: readonly T[]): T;
  isGiven(name: FlagName): boolean;
  source(name: FlagName): string;
}

/**
 * The proxies whose X-Forwarded-For is believed; undefined with --client-address socket. Throws AppError STARTUP naming the
 * flag: a header that is believed from anybody would let every client choose its address.
 */
export function trustedProxies(read: Reader): readonly AddressRange[] | undefined {
  const source = read.source('trusted-proxies');
  const given = read.list('trusted-proxies') ?? [];
  if (read.oneOf('client-address', ['socket', 'x-forwarded-for']) === 'socket') {
    if (given.length === 0) return undefined;
    throw new AppError('STARTUP', `${source} is given, but has no effect without --client-address x-forwarded-for`);
  }
  if (given.length === 0) {
    const why = 'needs --trusted-proxies: the addresses or networks of the proxies that write the header';
    throw new AppError('STARTUP', `${read.source('client-address')} x-forwarded-for ${why}`);
  }
  return given.map((text) => {
    const range = parseAddressRange(text);
    if (range !== undefined) return range;
    throw new AppError('STARTUP', `${source} has "${text}"; expected addresses or networks such as 10.0.0.0/8`);
  });
}
