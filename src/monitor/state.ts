import { createHash } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { SignedTreeHead } from '../ctlog/checkpoint.js';
import { readIfExists, replaceFile, syncPath } from '../ctlog/durable-file.js';
import { type Peaks, peaksRoot, sameHash } from '../ctlog/merkle.js';
import { messageOf } from '../errors.js';
import { Unavailable } from './finding.js';

/** What a monitor remembers of one log. */
export interface LogState {
  readonly url: string;
  /** Of its checkpoints; they must keep it. */
  readonly origin: string | undefined;
  /** The last head that was found to be the log's and consistent with those before. */
  readonly head: SignedTreeHead;
  /** The entries that were checked and of which all that matched was delivered; at most the head's size. */
  readonly done: Peaks;
  /** Matches of entries below this and not below `done` may have been delivered already. */
  readonly deliveringTo: number;
  /** Hash of the criteria, to tell when others are asked for. */
  readonly criteria: string;
  /** Inconsistencies that were told and are not told again, by event id. */
  readonly told: readonly string[];
}

/** The state file exists and cannot be believed. */
export class StateDamaged extends Error {
  override readonly name = 'StateDamaged';
}

/** Inconsistencies remembered as told. */
export const maxTold = 1000;

const count = z
  .number()
  .int()
  .min(0)
  .max(2 ** 40);
const hash = z.base64().length(44);
const logSchema = z.strictObject({
  url: z.string(),
  origin: z.string().optional(),
  head: z.strictObject({ size: count, timestamp: z.number().int().min(0), root: hash, signature: z.base64() }),
  done: z.strictObject({ size: count, hashes: z.array(hash).max(41) }),
  deliveringTo: count,
  criteria: z.string(),
  told: z.array(z.string()).max(maxTold),
});
const logsSchema = z.record(z.string(), logSchema);
const fileSchema = z.strictObject({ format: z.literal('mayfly-monitor/1'), sha256: z.string(), logs: z.unknown() });
type LogJson = z.infer<typeof logSchema>;

/** The states of the logs in one file, by log id; a file has one writer. */
export interface StateFile {
  get(logId: Uint8Array): LogState | undefined;
  /** Atomic and durable: a crash leaves the old state or the new one. Throws Unavailable. */
  set(logId: Uint8Array, state: LogState): Promise<void>;
}

/** Without a file: what is remembered ends with the process. */
export function memoryState(): StateFile {
  const states = new Map<string, LogState>();
  return {
    get: (logId) => states.get(keyOf(logId)),
    async set(logId, state) {
      states.set(keyOf(logId), state);
    },
  };
}

/** Opens the file, which need not exist; throws StateDamaged for one that is not exactly what was written. */
export async function openStateFile(path: string): Promise<StateFile> {
  const bytes = await readIfExists(path);
  let logs: Readonly<Record<string, LogJson>> = bytes === undefined ? {} : parse(path, bytes);
  return {
    get(logId) {
      const found = logs[keyOf(logId)];
      return found && fromJson(path, found);
    },
    async set(logId, state) {
      const next = { ...logs, [keyOf(logId)]: toJson(state) };
      const file = { format: 'mayfly-monitor/1', sha256: checksum(next), logs: next };
      const text = `${JSON.stringify(file, null, 1)}\n`;
      try {
        await replaceFile(path, `${path}.tmp`, Buffer.from(text), { mode: 0o600, sync: true });
        await syncPath(dirname(resolve(path)));
      } catch (cause) {
        throw new Unavailable(`the state cannot be written to ${path}: ${messageOf(cause)}`, { cause });
      }
      // Only now: what is remembered here and not there would not be written again.
      logs = next;
    },
  };
}

function parse(path: string, bytes: Uint8Array): Record<string, LogJson> {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw damaged(path, bytes.length === 0 ? 'it is empty' : 'it is not JSON', cause);
  }
  const file = fileSchema.safeParse(json);
  if (!file.success) throw damaged(path, 'it is not in the form of mayfly-monitor/1');
  const logs = logsSchema.safeParse(file.data.logs);
  if (!logs.success) throw damaged(path, `${logs.error.issues[0]?.path.join('.')} is not of its form`);
  if (checksum(file.data.logs) !== file.data.sha256) throw damaged(path, 'its content does not have its checksum');
  return logs.data;
}

function damaged(path: string, found: string, cause?: unknown): StateDamaged {
  const advice = 'put a copy back, or move it away to start anew, which forgets what the log showed before';
  return new StateDamaged(`the state in ${path} is damaged: ${found}; ${advice}`, { cause });
}

function checksum(logs: unknown): string {
  return createHash('sha256').update(JSON.stringify(logs)).digest('hex');
}

function keyOf(logId: Uint8Array): string {
  return Buffer.from(logId).toString('hex');
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'base64');

function toJson({ head, done, origin, told, ...rest }: LogState): LogJson {
  const { size, timestamp, root, signature } = head;
  return {
    ...rest,
    ...(origin === undefined ? {} : { origin }),
    head: { size, timestamp, root: base64(root), signature: base64(signature) },
    done: { size: done.size, hashes: done.hashes.map(base64) },
    told: told.slice(-maxTold),
  };
}

function fromJson(path: string, { head, done, origin, ...rest }: LogJson): LogState {
  const state = {
    ...rest,
    origin,
    head: { ...head, root: bytesOf(head.root), signature: bytesOf(head.signature) },
    done: { size: done.size, hashes: done.hashes.map(bytesOf) },
  };
  try {
    if (state.done.size > state.head.size) throw new Error('more entries were checked than the log has');
    const peaks = done.size.toString(2).replaceAll('0', '').length;
    if (peaks !== done.hashes.length) throw new Error('it has too many or too few hashes for its size');
    const whole = state.done.size === state.head.size;
    if (whole && !sameHash(peaksRoot(state.done), state.head.root)) throw new Error('its hashes are not of its head');
    return state;
  } catch (cause) {
    throw damaged(path, messageOf(cause), cause);
  }
}
