import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../ctlog/durable-file.js';
import type { TrailOutput } from './output.js';

/** Writes some of the bytes and says how many. */
export type WriteSome = (bytes: Uint8Array) => Promise<number>;

const pauseMs = 5;

/** A trail on standard output: what becomes of its lines is for whoever reads them, so there is no durability to promise. */
export class StandardOutput implements TrailOutput {
  readonly name = 'standard output';
  readonly size = 0;
  readonly #write: WriteSome;
  /** Of the bytes of the call under way, or the one that failed: a pipe takes nothing back. */
  #done = 0;

  constructor(write: WriteSome) {
    this.#write = write;
  }

  async append(bytes: Uint8Array): Promise<void> {
    while (this.#done < bytes.length) {
      try {
        this.#done += await this.#write(bytes.subarray(this.#done));
      } catch (error) {
        // A pipe that another part of the process made non-blocking is full.
        if (!hasCode(error, 'EAGAIN')) throw error;
        await sleep(pauseMs);
      }
    }
    this.#done = 0;
  }

  async close(): Promise<void> {}
}
