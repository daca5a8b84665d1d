import { AppError } from '../errors.js';
import type { ObjectStore } from './s3-objects.js';

/** Objects that keep writers away from a log in an object store, and what a writer that finds one is told. */
const marks = {
  copying: 'is not complete: "mayfly log copy" was cut short there. Run it again; it goes on where it stopped',
  frozen:
    'was frozen by "mayfly log rotate" and takes no entry any more; start with the data directory it was rotated in, ' +
    'whose ctlog-shards.json names the log that follows it. If the rotation was cut short, run it again',
} as const;

/** `copying`: a log is being moved there; `frozen`: the log has a successor. */
export type StoreMark = keyof typeof marks;

const headers = { type: 'text/plain; charset=utf-8', cacheControl: 'no-store' };

/** Key of the object. */
export function markKey(mark: StoreMark): string {
  return `.writer/${mark}`;
}

export async function setMark(objects: ObjectStore, mark: StoreMark): Promise<void> {
  await objects.create(markKey(mark), Buffer.from(`${marks[mark]}\n`), headers);
}

/** Throws AppError STARTUP when the log carries another mark than `allowed`. */
export async function refuseMarked(objects: ObjectStore, allowed: StoreMark | undefined): Promise<void> {
  for (const mark of ['copying', 'frozen'] as const) {
    if (mark === allowed || (await objects.get(markKey(mark))) === undefined) continue;
    throw new AppError('STARTUP', `the log in ${objects.name} ${marks[mark]}`);
  }
}
