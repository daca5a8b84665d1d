import type { LogTransport } from '../ct/log-transport.js';
import { messageOf } from '../errors.js';
import type { Hash } from './merkle.js';
import { cosignatureTime, formatLine, noteBody, readLines } from './witness-note.js';
import type { Witness } from './witness-policy.js';

/** A tree head to be witnessed. */
export interface WitnessedHead {
  readonly size: number;
  /** The checkpoint with the log's own signatures. */
  readonly note: string;
  /** The consistency proof from the tree of `oldSize` entries, which is at most `size` and may be 0. */
  proofFrom(oldSize: number): Promise<readonly Hash[]>;
}

/**
 * Why a witness did not cosign: it could not be reached or had trouble of its own; it does not take this log, or this
 * checkpoint; it knows another history of this log; it answered what the protocol does not have.
 */
export type WitnessFailure = 'unavailable' | 'refused' | 'conflict' | 'misbehaved';

export class WitnessError extends Error {
  override readonly name = 'WitnessError';
  readonly failure: WitnessFailure;

  constructor(failure: WitnessFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}

export interface WitnessClientOptions {
  readonly witness: Witness;
  readonly transport: LogTransport;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  readonly timeoutMs: number;
}

/** Asks one witness; remembers what it has seen last. Not reentrant: one `cosign` at a time. */
export interface WitnessClient {
  /** Resolves with the verified cosignature as a signature line with its newline; throws WitnessError. */
  cosign(head: WitnessedHead, signal: AbortSignal): Promise<string>;
}

const maxAnswerBytes = 64 * 1024;
/** What we send is text, and the protocol names no type for it. */
const contentType = 'text/plain; charset=utf-8';
/** A cosignature says "now": one that is further off our clock would be of no use to those who check its time. */
const maxAheadMs = 5 * 60_000;
const maxAgeMs = 3_600_000;

/** HTTP statuses of add-checkpoint by which a witness says no (c2sp.org/tlog-witness). */
const refusals: Readonly<Record<number, string>> = {
  400: 'it says the request is malformed',
  403: "it does not know the key of this log's signature",
  404: 'it does not know this log',
  422: 'it says the consistency proof does not verify',
};

/** A client of c2sp.org/tlog-witness. */
export function witnessClient({ witness, transport, clock, timeoutMs }: WitnessClientOptions): WitnessClient {
  const url = new URL(`${witness.url.replace(/\/+$/, '')}/add-checkpoint`);
  /** Size of the tree it cosigned last; 0 asks for it. */
  let known = 0;

  async function send(head: WitnessedHead, limit: AbortSignal) {
    const proof = known === 0 ? [] : await head.proofFrom(known);
    const lines = [`old ${known}`, ...proof.map((hash) => Buffer.from(hash).toString('base64')), '', head.note];
    try {
      return await transport.post(url, lines.join('\n'), { signal: limit, maxBytes: maxAnswerBytes }, contentType);
    } catch (cause) {
      const why = limit.aborted ? `no answer within ${timeoutMs} ms` : messageOf(cause);
      throw new WitnessError('unavailable', why, { cause });
    }
  }

  /** The witness says how far it is (409): a size that we can go on from, or a history that is not ours. */
  function takeSize(body: Buffer, head: WitnessedHead): void {
    const [, digits] = /^(0|[1-9][0-9]{0,14})\n?$/.exec(body.toString('latin1')) ?? [];
    if (digits === undefined) throw new WitnessError('misbehaved', 'it answers 409 without the size it knows');
    const size = Number(digits);
    if (size > head.size) {
      const found = `it has cosigned a tree of ${size} entries, and this one has ${head.size}`;
      throw new WitnessError('conflict', `${found}: was an old copy of the log put back?`);
    }
    if (size === known) throw new WitnessError('conflict', `it has cosigned another tree of ${size} entries`);
    known = size;
  }

  function lineIn(body: Buffer, head: WitnessedHead): string {
    const noteText = noteBody(head.note);
    for (const line of readLines(body.toString('utf8'))) {
      const time = cosignatureTime(line, witness.key, noteText);
      if (time === undefined) continue;
      const ageMs = clock() - time;
      if (ageMs > maxAgeMs || ageMs < -maxAheadMs) {
        const off = `${Math.abs(ageMs)} ms ${ageMs < 0 ? 'ahead of' : 'behind'} our clock`;
        throw new WitnessError('misbehaved', `its cosignature is ${off}`);
      }
      return formatLine(line);
    }
    throw new WitnessError('misbehaved', 'its answer holds no cosignature of its key over this checkpoint');
  }

  return {
    async cosign(head, signal) {
      const limit = AbortSignal.any([AbortSignal.timeout(timeoutMs), signal]);
      // Twice: the first answer may be the size to start from.
      for (let attempt = 1; ; attempt += 1) {
        const { status, body } = await send(head, limit);
        if (status === 200) {
          const line = lineIn(body, head);
          known = head.size;
          return line;
        }
        if (status !== 409) throw refusal(status);
        takeSize(body, head);
        if (attempt === 2) throw new WitnessError('misbehaved', 'it answers 409 with one size after another');
      }
    },
  };
}

function refusal(status: number): WitnessError {
  const why = refusals[status];
  if (why !== undefined) return new WitnessError('refused', `${why} (HTTP status ${status})`);
  return new WitnessError('unavailable', `it answers with HTTP status ${status}`);
}
