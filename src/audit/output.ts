import type { NotedHead } from './head-file.js';

/**
 * Where the lines of a trail go. Calls come one at a time. One that rejects says nothing: its bytes may have been written,
 * wholly, partly or not at all; it is then called again with the same bytes until it resolves.
 */
export interface TrailOutput {
  /** For messages. */
  readonly name: string;
  /** Bytes in the file that is open. */
  readonly size: number;
  /** Puts `bytes` behind all before them; durable when it resolves. */
  append(bytes: Uint8Array): Promise<void>;
  /** Notes the head that the last append made beside the trail; absent where there is no such place. */
  note?(head: NotedHead): void;
  /** Absent where there are no files to begin. */
  readonly files?: TrailFiles;
  close(): Promise<void>;
}

export interface TrailFiles {
  /**
   * Sets the open file aside as `archive`, unless it has been renamed or removed already, and begins another with these
   * bytes; durable, with its name, when it resolves.
   */
  next(archive: string, bytes: Uint8Array): Promise<void>;
  /** Whether the path does not lead to the open file any more. */
  moved(): boolean;
  /** Name under which a file is set aside whose last line is `seq`; `time` in milliseconds since the epoch. */
  archiveName(time: number, seq: number): string;
}
