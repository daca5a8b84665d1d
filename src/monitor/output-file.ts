import { type FileHandle, open } from 'node:fs/promises';
import { AppError, messageOf } from '../errors.js';
import type { Sink } from './delivery.js';
import { Unavailable } from './finding.js';

/** How far back the beginning of a torn line is looked for; no event is that long. */
const maxLineBytes = 4 * 1024 * 1024;

/**
 * Appends events to a JSON Lines file, each durable before `deliver` resolves. A last line that a crash cut off is removed
 * first (its event comes again), and `tell` is told. Throws AppError STARTUP.
 */
export async function openOutputFile(path: string, tell: (text: string) => void): Promise<Sink> {
  const file = await open(path, 'a+', 0o600).catch((cause: unknown) => {
    throw unusable(path, cause);
  });
  try {
    await mend(file, path, tell);
  } catch (cause) {
    await file.close();
    throw cause instanceof AppError ? cause : unusable(path, cause);
  }
  return {
    name: 'output',
    async deliver(event) {
      try {
        await file.appendFile(`${JSON.stringify(event)}\n`);
        await file.datasync();
      } catch (cause) {
        throw new Unavailable(`${path} cannot be written: ${messageOf(cause)}`, { cause });
      }
    },
    close: () => file.close(),
  };
}

function unusable(path: string, cause: unknown): AppError {
  return new AppError('STARTUP', `--output: cannot append to ${path}: ${messageOf(cause)}`, { cause });
}

async function mend(file: FileHandle, path: string, tell: (text: string) => void): Promise<void> {
  const { size } = await file.stat();
  const length = Math.min(size, maxLineBytes);
  const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
  if (length === 0 || buffer.at(-1) === 0x0a) return;
  const begin = buffer.lastIndexOf(0x0a) + 1;
  const line = buffer.subarray(begin).toString('utf8');
  if (isJson(line)) return file.appendFile('\n');
  if (!line.startsWith('{"type":') || (begin === 0 && length < size)) {
    throw new AppError('STARTUP', `--output: ${path} does not end in a line of events; expected a file of its own`);
  }
  await file.truncate(size - length + begin);
  tell(`${path}: its last line was cut off in the middle and was removed; its event comes again`);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
