import { readFileSync } from 'node:fs';
import { AppError, messageOf } from '../errors.js';
import type { PolicySettings } from '../policy.js';

type FlagName = 'policy-default' | 'policy-dry-run' | 'opa-url' | 'opa-timeout' | 'opa-tls-ca-cert';

/** What of the reader of flags is needed here. */
interface Reader {
  oneOf<const T extends string>(name: FlagName, allowed: readonly T[]): T;
  boolean(name: FlagName): boolean;
  duration(name: FlagName): number;
  optional(name: FlagName): string | undefined;
  source(name: FlagName): string;
}

/** The flags about policy; the rules are in the identity configuration. Throws AppError STARTUP. */
export function policySettings(read: Reader): PolicySettings {
  const settings = {
    fallback: read.oneOf('policy-default', ['allow', 'deny']),
    dryRun: read.boolean('policy-dry-run'),
  };
  const url = read.optional('opa-url');
  const caCert = opaCaCert(read);
  if (url === undefined) {
    if (caCert === undefined) return settings;
    throw new AppError('STARTUP', `${read.source('opa-tls-ca-cert')} is given, but no --opa-url that it would be for`);
  }
  const opa = { url: opaUrl(url, read.source('opa-url')), timeoutMs: read.duration('opa-timeout') };
  return { ...settings, opa: caCert === undefined ? opa : { ...opa, caCert } };
}

/**
 * The address of one decision of an Open Policy Agent. Claims are personal data and the answer opens the door, so in clear
 * text only this machine is asked. Throws AppError STARTUP.
 */
export function opaUrl(text: string, source: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const expected = 'expected the URL of a decision such as http://127.0.0.1:8181/v1/data/mayfly/decision';
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.pathname === '/' || url.hash !== '') {
    throw new AppError('STARTUP', `${source} is "${text}"; ${expected}`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new AppError('STARTUP', `${source} has a user or a password in it; ${expected}`);
  }
  if (url.protocol === 'http:' && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname)) {
    throw new AppError(
      'STARTUP',
      `${source} is "${text}", in clear text to another machine; expected https or loopback`,
    );
  }
  return url;
}

function opaCaCert(read: Reader): string | undefined {
  const path = read.optional('opa-tls-ca-cert');
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError('STARTUP', `${read.source('opa-tls-ca-cert')}: cannot read it: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
