import fs from 'node:fs';
import { promisify } from 'node:util';
import type { Head } from './line.js';

/** The last line of a trail, as it is noted beside the trail: what a chain of hashes cannot show by itself is its end. */
export interface NotedHead extends Head {
  /** The trail's id. */
  readonly trail: string;
}

const pattern = /^([1-9]\d{0,15}):([0-9a-f]{64}) (.+)\n$/;
const write = promisify(fs.write);
const truncate = promisify(fs.ftruncate);

/** The file beside a trail that has its head: `SEQ:SHA256 TRAIL`. */
export function headPath(trailPath: string): string {
  return `${trailPath}.head`;
}

/** What such a file says; undefined for one that is missing or empty. Throws SyntaxError for anything else. */
export function readHead(path: string): NotedHead | undefined {
  const text = fs.existsSync(path) ? fs.readFileSync(path, 'utf8') : '';
  if (text === '') return undefined;
  const [, seq, hash, trail] = pattern.exec(text) ?? [];
  if (seq !== undefined && hash !== undefined && trail !== undefined) return { seq: Number(seq), hash, trail };
  throw new SyntaxError('it is not the head of a trail; expected SEQ:SHA256 and the id of a trail');
}

/**
 * Notes the head of one trail, always behind the trail itself: a line is durable before it is noted, so a head whose line
 * is missing means that the line was taken away. Nothing waits for it and a failure to write it is no failure of the
 * trail: it is then behind for a while. It is not synced either: a kill loses nothing, a power cut the newest lines of it.
 */
export class HeadFile {
  readonly #fd: number;
  /** Bytes in the file. */
  #size: number;
  #wanted: NotedHead | undefined;
  #writing: Promise<void> | undefined;

  /** Opens or makes the file. Throws what the file system throws. */
  constructor(path: string) {
    this.#fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o640);
    this.#size = fs.fstatSync(this.#fd).size;
  }

  note(head: NotedHead): void {
    this.#wanted = head;
    this.#writing ??= this.#write();
  }

  async close(): Promise<void> {
    await this.#writing;
    fs.closeSync(this.#fd);
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    for (let head = this.#wanted; head !== undefined; head = this.#wanted) {
      this.#wanted = undefined;
      try {
        const text = `${head.seq}:${head.hash} ${head.trail}\n`;
        // Only another trail, or one that was cut off, has a shorter head.
        if (text.length < this.#size) await truncate(this.#fd, 0);
        this.#size = text.length;
        await write(this.#fd, text, 0);
      } catch {
        // The next head is written in the same place.
      }
    }
    this.#writing = undefined;
  }
}
