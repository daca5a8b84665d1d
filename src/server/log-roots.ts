import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Logger } from 'pino';
import { AppError, messageOf } from '../errors.js';
import { decodePemAll } from '../x509/pem.js';
import { watchDirectory } from './identity-source.js';

/** The certificates in force below which the log takes chains, and how they are replaced. */
export interface RootsSource {
  /** DER; the same array until it changes. */
  current(): readonly Uint8Array[];
  /** Reads the file again; a bad one is refused with a log line and the old one stays. */
  reload(why: string): void;
  close(): void;
}

/** Reads the PEM bundle of --roots and watches it. Throws AppError STARTUP, naming file and certificate. */
export function openRootsSource(file: string, logger: Logger): RootsSource {
  let roots = readRoots(file);
  const reload = (why: string): void => {
    try {
      const next = readRoots(file);
      if (sameRoots(roots, next)) return;
      roots = next;
      logger.info({ file, why, roots: roots.length }, 'accepted roots loaded anew');
    } catch (error) {
      logger.error({ file, why }, `accepted roots refused, the old ones stay: ${messageOf(error)}`);
    }
  };
  const watcher = watchDirectory(dirname(file), [basename(file), '..data'], () => reload('file changed'));
  return { current: () => roots, reload, close: () => watcher?.close() };
}

/**
 * DER of the CA certificates in a PEM bundle, each once. Throws AppError STARTUP for a file that cannot be read, holds
 * none, or holds something else among them.
 */
export function readRoots(file: string): readonly Uint8Array[] {
  const wrong = (why: string, cause?: unknown): AppError =>
    new AppError('STARTUP', `--roots ${file}: ${why}`, { cause });
  let certificates: readonly Uint8Array[];
  try {
    certificates = decodePemAll(readFileSync(file), 'CERTIFICATE');
  } catch (cause) {
    throw wrong(messageOf(cause), cause);
  }
  if (certificates.length === 0) throw wrong('it holds no PEM block "CERTIFICATE"; expected at least one root');
  certificates.forEach((der, i) => {
    const place = `certificate ${i + 1} of ${certificates.length}`;
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(der);
    } catch (cause) {
      throw wrong(`${place} is malformed: ${messageOf(cause)}`, cause);
    }
    const subject = certificate.subject.split('\n').join(', ');
    if (!certificate.ca) throw wrong(`${place} (${subject}) is not one of a certificate authority`);
  });
  return [...new Map(certificates.map((der) => [nameOf(der), der])).values()];
}

function nameOf(der: Uint8Array): string {
  return Buffer.from(der).toString('base64');
}

function sameRoots(before: readonly Uint8Array[], after: readonly Uint8Array[]): boolean {
  return before.map(nameOf).join() === after.map(nameOf).join();
}
