import { eventId, type Finding, type FindingKind } from './finding.js';
import { maxTold } from './state.js';

/** A fork stays true once it was found: the log signed it. Others end, and are told again when they come back. */
const lasting: ReadonlySet<FindingKind> = new Set(['fork']);

/** Which inconsistencies were told, so that one that lasts is not told every minute. */
export class Told {
  readonly #logId: Uint8Array;
  #ids: string[];

  constructor(logId: Uint8Array, ids: readonly string[]) {
    this.#logId = logId;
    this.#ids = [...ids];
  }

  list(): readonly string[] {
    return this.#ids;
  }

  has(finding: Finding): boolean {
    return this.#ids.includes(this.#idOf(finding));
  }

  add(finding: Finding): readonly string[] {
    this.#ids = [...this.#ids, this.#idOf(finding)].slice(-maxTold);
    return this.#ids;
  }

  /** Forgets what was not found any more. */
  endRound(found: readonly Finding[]): readonly string[] {
    const still = new Set(found.map((finding) => this.#idOf(finding)));
    this.#ids = this.#ids.filter((id) => still.has(id) || lasting.has(id.split(' ', 1)[0] as FindingKind));
    return this.#ids;
  }

  #idOf({ kind, key }: Finding): string {
    return `${kind} ${eventId(this.#logId, kind, key)}`;
  }
}
