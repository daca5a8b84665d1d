import { stat } from 'node:fs/promises';
import { writeWhole } from '../ctlog/durable-file.js';
import { messageOf } from '../errors.js';
import { CommandError } from './request-io.js';

export interface OutputFile {
  /** The flag that names it, for messages. */
  readonly flag: string;
  readonly path: string;
  readonly content: string;
  readonly mode: number;
}

/**
 * Makes sure before anything is asked for that no output file is there already, unless `force`.
 * @throws CommandError 2 naming the flag and the file.
 */
export async function refuseExisting(
  files: readonly Pick<OutputFile, 'flag' | 'path'>[],
  force: boolean,
): Promise<void> {
  for (const { flag, path } of files) {
    const there = await stat(path).then(
      () => true,
      () => false,
    );
    if (there && !force) throw new CommandError(2, `${flag}: ${path} exists; --force overwrites it`);
  }
}

/**
 * Writes the files in order; without `force` a file that has appeared meanwhile is left alone.
 * @throws CommandError 1 naming the flag and the file.
 */
export async function writeOutputs(files: readonly OutputFile[], force: boolean): Promise<void> {
  for (const { flag, path, content, mode } of files) {
    try {
      // chmod, because an overwritten file keeps its old mode, which may be too open for a key.
      await writeWhole(path, Buffer.from(content), { mode, chmod: true, sync: false, exclusive: !force });
    } catch (cause) {
      throw new CommandError(1, `${flag}: ${path} cannot be written: ${messageOf(cause)}`, cause);
    }
  }
}
