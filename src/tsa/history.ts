import { join } from 'node:path';
import { z } from 'zod';
import { readIfExists, replaceFile } from '../ctlog/durable-file.js';
import { AppError, messageOf } from '../errors.js';

/** One chain that this instance has given timestamps under. */
export interface TsaPeriod {
  /** DER, the authority's own certificate first, root last. */
  readonly chain: readonly Uint8Array[];
  /** When it was replaced, or the authority turned off. */
  readonly end: Date | undefined;
}

const recordSchema = z.array(z.object({ chain: z.array(z.base64()).min(1), end: z.iso.datetime().optional() }));
type Records = z.infer<typeof recordSchema>;

/**
 * Writes down which chain gives timestamps from now on (undefined: none) and returns every chain there ever was, the one
 * in use first: what was stamped under a former one must stay verifiable. The record is DATA-DIR/tsa-chains.json. Throws
 * AppError STARTUP when it cannot be read or written.
 */
export async function recordTsa(
  dataDir: string,
  chain: readonly Uint8Array[] | undefined,
  now: Date,
): Promise<readonly TsaPeriod[]> {
  const path = join(dataDir, 'tsa-chains.json');
  try {
    const before = await readRecords(path);
    const records = next(
      before,
      chain?.map((der) => Buffer.from(der).toString('base64')),
      now,
    );
    if (JSON.stringify(records) !== JSON.stringify(before)) {
      const text = `${JSON.stringify(records, null, 2)}\n`;
      await replaceFile(path, `${path}.new`, Buffer.from(text), { mode: 0o644, sync: true });
    }
    return periodsOf(records);
  } catch (cause) {
    throw new AppError('STARTUP', `the record of timestamp chains ${path} cannot be used: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** The record as it is, the chain in use first; throws AppError STARTUP when it cannot be read. */
export async function readTsaRecord(dataDir: string): Promise<readonly TsaPeriod[]> {
  const path = join(dataDir, 'tsa-chains.json');
  try {
    return periodsOf(await readRecords(path));
  } catch (cause) {
    throw new AppError('STARTUP', `the record of timestamp chains ${path} cannot be used: ${messageOf(cause)}`, {
      cause,
    });
  }
}

async function readRecords(path: string): Promise<Records> {
  const bytes = await readIfExists(path);
  return bytes === undefined ? [] : recordSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
}

function periodsOf(records: Records): readonly TsaPeriod[] {
  return records.map((record) => ({
    chain: record.chain.map((base64) => Buffer.from(base64, 'base64')),
    end: record.end === undefined ? undefined : new Date(record.end),
  }));
}

function next(before: Records, chain: readonly string[] | undefined, now: Date): Records {
  const isCurrent = (record: Records[number]): boolean => record.chain.join() === chain?.join();
  const former = before
    .filter((record) => !isCurrent(record))
    .map((record) => ({ ...record, end: record.end ?? now.toISOString() }));
  return chain === undefined ? former : [{ chain: [...chain] }, ...former];
}
