import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readFormat, upgrades, writeFormat } from '../ca/data-format.js';
import { moveInto, staged, sweepStaged } from '../ca/first-start.js';
import { isCode, readPrivateFile, syncDirectory, writeNewDirectory } from '../ca/private-file.js';
import { AppError, messageOf } from '../errors.js';
import { encodePem } from '../x509/pem.js';
import { createTsa, type NewTsaOptions } from './create.js';

/** The files of keys/tsa. */
export interface TsaKeys {
  readonly keyPath: string;
  readonly chainPath: string;
  readonly keyPem: string;
  readonly chainPem: string;
}

/**
 * Reads key and chain of the timestamp authority from keys/tsa of a data directory that is open; the first call ever
 * makes them, all or none. Keys that were here once are made anew only beside keys/tsa.old. Throws AppError STARTUP that
 * names the file in question.
 */
export async function openTsaKeys(dataDir: string, options: NewTsaOptions): Promise<TsaKeys> {
  const directory = join(dataDir, 'keys/tsa');
  const keyPath = join(directory, 'key.pem');
  const chainPath = join(directory, 'chain.pem');
  const format = await readFormat(dataDir, upgrades);
  const known = format?.holds.includes('tsa') ?? false;
  if (!existsSync(directory)) {
    if (known && !existsSync(`${directory}.old`)) {
      throw new AppError(
        'STARTUP',
        `${keyPath} is missing, though this data directory had it; restore it from backup. For a new key, rename the ` +
          'directory to keys/tsa.old, which says that it is meant',
      );
    }
    await createTsaKeys(dataDir, options);
  }
  const keyPem = await readPrivateFile(keyPath);
  const chainPem = await readChain(chainPath, keyPath);
  if (format !== undefined && !known) {
    await writeFormat(dataDir, { ...format, holds: [...format.holds, 'tsa'] });
    await sweepStaged(dataDir, 'tsa');
  }
  return { keyPath, chainPath, keyPem, chainPem };
}

async function createTsaKeys(dataDir: string, options: NewTsaOptions): Promise<void> {
  const { privateKey, chain } = await createTsa(options);
  const keys = join(dataDir, 'keys');
  const from = join(keys, staged('tsa', Buffer.from(options.random(8)).toString('hex')));
  await writeNewDirectory(from, [
    ['key.pem', String(privateKey.export({ type: 'pkcs8', format: 'pem' }))],
    ['chain.pem', chain.map((der) => encodePem('CERTIFICATE', der)).join('')],
  ]);
  await moveInto(from, join(keys, 'tsa'));
  await syncDirectory(keys);
}

async function readChain(path: string, keyPath: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const why = isCode(cause, 'ENOENT') ? `it is missing beside ${keyPath}` : messageOf(cause);
    throw new AppError('STARTUP', `cannot read the timestamp authority's certificate chain ${path}: ${why}`, { cause });
  }
}
