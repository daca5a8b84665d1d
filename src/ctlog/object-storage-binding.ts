import { AppError } from '../errors.js';
import type { WriterLease } from './postgres-lease.js';
import type { ObjectStore } from './s3-objects.js';

const bindingKey = '.writer/database';
const headers = { type: 'text/plain; charset=utf-8', cacheControl: 'no-store' };

/**
 * Ties the log's place in the object store to its row in the database, for good, so that two writers never go by two
 * databases; and makes sure that the store honours conditions on writes (If-Match, If-None-Match), on which the promise
 * rests that no tile changes and no published checkpoint is put back. Call it with the lease held.
 *
 * Throws AppError STARTUP when the store belongs to another row or ignores conditions.
 */
export async function bindToDatabase(objects: ObjectStore, lease: Pick<WriterLease, 'id' | 'name'>): Promise<void> {
  const id = Buffer.from(`${lease.id}\n`);
  await objects.create(bindingKey, id, headers);
  const found = await objects.get(bindingKey);
  if (found === undefined || Buffer.compare(found.bytes, id) !== 0) {
    throw new AppError(
      'STARTUP',
      `the log in ${objects.name} is committed in another database than ${lease.name}: it expects the database ` +
        `${found === undefined ? 'of nobody' : Buffer.from(found.bytes).toString().trim()}, and this one is ${lease.id}. ` +
        'Nothing was changed. Name the database that the log was made with, or restore its newest backup: a log whose ' +
        'committed checkpoint is lost cannot be continued without contradicting what clients have seen',
    );
  }
  // Harmless where conditions are ignored: the content stays as it is.
  const created = await objects.create(bindingKey, id, headers);
  const replaced = await objects.replace(bindingKey, id, headers, '"00000000000000000000000000000000"');
  if (created === 'exists' && replaced === undefined) return;
  throw new AppError(
    'STARTUP',
    `the object store of ${objects.name} ignores ${created === 'created' ? 'If-None-Match' : 'If-Match'} on writes, ` +
      'without which a writer that was replaced could put an older checkpoint back; use a store that honours it ' +
      '(AWS S3, MinIO and Cloudflare R2 do), or keep the log in a directory',
  );
}
