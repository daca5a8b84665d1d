import fs from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { AppError, messageOf } from '../errors.js';
import type { Authorities } from './life-cycle.js';
import { isCode, syncDirectory, writeNewFile } from './private-file.js';

/** The record of every CA in a data directory: certificates, states and times, no key. */
export const authoritiesFile = 'authorities.json';

const lockFile = 'authorities.lock';
const lockWithinMs = 10_000;
const lockPollMs = 25;

interface NativeLocks {
  /** False when another open file description holds the lock. */
  tryLock(fd: number): boolean;
}

/** The package has neither types nor an ES module. */
const { tryLock } = createRequire(import.meta.url)('fs-native-extensions') as NativeLocks;

const time = z.iso.datetime().transform((text) => new Date(text));

const schema = z.strictObject({
  version: z.literal(1),
  cas: z.array(
    z.strictObject({
      name: z.string().regex(/^[\w][\w.-]{0,63}$/),
      state: z.enum(['next', 'active', 'former', 'retired']),
      fingerprint: z.string().regex(/^[0-9a-f]{64}$/),
      chain: z.string().includes('-----BEGIN CERTIFICATE-----'),
      // Nothing in here may lead out of keys/, because `ca delete` removes it.
      keyDirectory: z
        .string()
        .regex(/^keys\/ca(-[\w][\w.-]{0,63})?$/)
        .optional(),
      addedAt: time,
      activeSince: time.optional(),
      issuedUntil: time.optional(),
      lifetimeMs: z.number().positive().optional(),
      retiredAt: time.optional(),
      keyDeletedAt: time.optional(),
    }),
  ),
  promotion: z.strictObject({ name: z.string(), at: time }).optional(),
});

/**
 * Reads the record of CAs; undefined when there is none. Throws AppError STARTUP for a file that cannot be read, is no such
 * record or names two active CAs.
 */
export async function readAuthorities(directory: string): Promise<Authorities | undefined> {
  const path = join(directory, authoritiesFile);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return undefined;
    throw new AppError('STARTUP', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
  return parseAuthorities(text, path);
}

/** Parses the record of CAs; `path` is what messages call it. Throws AppError STARTUP. */
export function parseAuthorities(text: string, path: string): Authorities {
  const wrong = (why: string, cause?: unknown): AppError =>
    new AppError('STARTUP', `${path} ${why}. Restore it from backup`, { cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw wrong('is not JSON', cause);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const place = issue?.path.length === 0 ? '' : ` at ${issue?.path.join('.')}`;
    throw wrong(`is no record of certificate authorities${place}: ${issue?.message}`);
  }
  const { cas, promotion } = parsed.data;
  const active = cas.filter(({ state }) => state === 'active').map(({ name }) => name);
  if (active.length > 1) throw wrong(`names ${active.length} active CAs (${active.join(', ')}); expected one`);
  for (const field of ['name', 'fingerprint', 'keyDirectory'] as const) {
    const twice = duplicateOf(cas.map((ca) => ca[field]));
    if (twice !== undefined) throw wrong(`has two CAs with the ${field} "${twice}"`);
  }
  return { cas, ...(promotion === undefined ? {} : { promotion }) };
}

function duplicateOf(values: readonly (string | undefined)[]): string | undefined {
  return values.find((value, i) => value !== undefined && values.indexOf(value) !== i);
}

/**
 * Replaces the record by what `step` makes of it, atomically and durably, one process after the other; `step` gets
 * undefined when there is none. Gives the record in force afterwards. Throws what `step` throws, having changed nothing.
 */
export async function updateAuthorities(
  directory: string,
  step: (before: Authorities | undefined) => Authorities | Promise<Authorities>,
): Promise<Authorities> {
  const release = await lock(join(directory, lockFile));
  try {
    const before = await readAuthorities(directory);
    const after = await step(before);
    if (after !== before) await write(directory, after);
    return after;
  } finally {
    release();
  }
}

async function write(directory: string, { cas, promotion }: Authorities): Promise<void> {
  const path = join(directory, authoritiesFile);
  const text = `${JSON.stringify({ version: 1, cas, promotion }, null, 2)}\n`;
  // What is written must be what the next start reads.
  parseAuthorities(text, path);
  await rm(`${path}.new`, { force: true });
  await writeNewFile(`${path}.new`, text, 0o644);
  await rename(`${path}.new`, path);
  await syncDirectory(directory);
}

/** A lock of the kernel, which the end of the process frees in whatever way it ends. */
async function lock(file: string): Promise<() => void> {
  const fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
  try {
    for (let waited = 0; !tryLock(fd); waited += lockPollMs) {
      if (waited >= lockWithinMs) throw new AppError('STARTUP', `another process holds ${file} for too long`);
      await sleep(lockPollMs);
    }
    return () => fs.closeSync(fd);
  } catch (cause) {
    fs.closeSync(fd);
    if (cause instanceof AppError) throw cause;
    throw new AppError('STARTUP', `the file ${file} cannot be locked: ${messageOf(cause)}`, { cause });
  }
}
