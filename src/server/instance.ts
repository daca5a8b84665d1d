import { readFileSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError, messageOf } from '../errors.js';

/**
 * The URL this instance is known under, for good: a log's origin is part of every checkpoint it ever signed
 * (c2sp.org/static-ct-api), so the first start writes the URL down and a later one may not contradict it.
 *
 * `given` is --public-url; without it the recorded URL holds, and at the first start `fallback`. Throws AppError
 * STARTUP when `given` differs from the record.
 */
export async function publicUrlOf(dataDir: string, given: string | undefined, fallback: string): Promise<string> {
  const file = join(dataDir, 'public-url');
  const recorded = readRecord(file);
  if (recorded === undefined) {
    const url = given ?? fallback;
    await writeRecord(file, url);
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

function readRecord(file: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new AppError('STARTUP', `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
  if (!URL.canParse(text)) throw new AppError('STARTUP', `${file} holds "${text.slice(0, 80)}"; expected a URL`);
  return text;
}

async function writeRecord(file: string, url: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const handle = await open(`${file}.new`, 'w', 0o644);
  try {
    await handle.writeFile(`${url}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}

/** The log's origin: its submission prefix without the scheme (static-ct-api). */
export function logOrigin(publicUrl: string): string {
  return `${publicUrl.replace(/^https?:\/\//, '')}/ctlog`;
}
