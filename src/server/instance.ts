import { join } from 'node:path';
import { readIfExists, replaceFile } from '../ctlog/durable-file.js';
import { AppError } from '../errors.js';

/**
 * The URL this instance is known under, for good: a log's origin is part of every checkpoint it ever signed
 * (c2sp.org/static-ct-api), so the first start writes the URL down and a later one may not contradict it.
 *
 * `given` is --public-url; without it the recorded URL holds, and at the first start `fallback`. Throws AppError
 * STARTUP when `given` differs from the record.
 */
export async function publicUrlOf(dataDir: string, given: string | undefined, fallback: string): Promise<string> {
  const file = join(dataDir, 'public-url');
  const recorded = await readRecord(file);
  if (recorded === undefined) {
    const url = given ?? fallback;
    await replaceFile(file, `${file}.new`, Buffer.from(`${url}\n`), { mode: 0o644, sync: true });
    return url;
  }
  if (given !== undefined && given !== recorded) {
    throw new AppError(
      'STARTUP',
      `--public-url is "${given}", but this data directory belongs to "${recorded}" (${file}): the URL is part of the ` +
        'log origin and of every checkpoint signed so far. Keep the old URL, or start with a new data directory',
    );
  }
  return recorded;
}

/** The URL that the first start wrote down; throws AppError STARTUP when there was none. */
export async function recordedPublicUrl(dataDir: string): Promise<string> {
  const recorded = await readRecord(join(dataDir, 'public-url'));
  if (recorded !== undefined) return recorded;
  throw new AppError('STARTUP', `--data-dir: no server ever ran with ${dataDir}: it has no file public-url`);
}

async function readRecord(file: string): Promise<string | undefined> {
  const bytes = await readIfExists(file);
  if (bytes === undefined) return undefined;
  const text = Buffer.from(bytes).toString('utf8').trim();
  if (!URL.canParse(text)) throw new AppError('STARTUP', `${file} holds "${text.slice(0, 80)}"; expected a URL`);
  return text;
}

/** The log's origin: its submission prefix without the scheme (static-ct-api). */
export function logOrigin(publicUrl: string): string {
  return `${publicUrl.replace(/^https?:\/\//, '')}/ctlog`;
}
