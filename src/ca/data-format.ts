import { existsSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, messageOf } from '../errors.js';
import { firstKeys, recordFirstCa } from './life-cycle-first.js';
import { isCode, syncDirectory, writeNewFile } from './private-file.js';

/** The key sets that a data directory can hold, by the name of their directory under keys/. */
export type KeySet = 'ca' | 'ctlog' | 'tsa';

/** What the file `format` says: the layout's version, and which key sets were ever completed here. */
export interface Format {
  readonly format: number;
  readonly holds: readonly KeySet[];
}

/** Brings a data directory from one version to the next; must be able to run again after an interruption. */
export type Upgrade = (directory: string) => Promise<void>;

/** `upgrades[n - 1]` leads from version n to n + 1. */
export const upgrades: readonly Upgrade[] = [
  // Version 1 had one CA, in keys/ca, and no record.
  async (directory) => {
    if (existsSync(join(directory, firstKeys, 'chain.pem'))) await recordFirstCa(directory);
  },
];

/**
 * Reads the file `format` and upgrades an older directory. Undefined when there is none, as before the first start.
 * Throws AppError STARTUP for a directory of a newer version or a file that is no format file.
 */
export async function readFormat(directory: string, steps: readonly Upgrade[]): Promise<Format | undefined> {
  const path = `${directory}/format`;
  const found = await read(path);
  if (found === undefined) return undefined;
  const current = steps.length + 1;
  if (found.format > current) {
    throw new AppError(
      'STARTUP',
      `${path} says version ${found.format}, and this version of mayfly knows up to ${current}: the data directory was ` +
        'used by a newer mayfly. Run that one, or restore the backup from before the upgrade',
    );
  }
  let format = found;
  for (const step of steps.slice(found.format - 1)) {
    await step(directory);
    format = { ...format, format: format.format + 1 };
    await writeFormat(directory, format);
  }
  return format;
}

async function read(path: string): Promise<Format | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (isCode(cause, 'ENOENT')) return undefined;
    throw new AppError('STARTUP', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
  const value = parseJson(text);
  if (isFormat(value)) return { format: value.format, holds: value.holds.filter(isKeySet) };
  throw new AppError(
    'STARTUP',
    `${path} is no format file; expected {"format": 2, "holds": […]}. Restore it from backup`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isFormat(value: unknown): value is { format: number; holds: unknown[] } {
  if (typeof value !== 'object' || value === null || !('format' in value) || !('holds' in value)) return false;
  return Number.isSafeInteger(value.format) && Number(value.format) >= 1 && Array.isArray(value.holds);
}

function isKeySet(value: unknown): value is KeySet {
  return value === 'ca' || value === 'ctlog' || value === 'tsa';
}

/** Replaces the file `format` durably. */
export async function writeFormat(directory: string, format: Format): Promise<void> {
  const staged = `${directory}/format.new`;
  await rm(staged, { force: true });
  await writeNewFile(staged, `${JSON.stringify(format)}\n`, 0o644);
  await rename(staged, `${directory}/format`);
  await syncDirectory(directory);
}
