import { eventId, type Finding, type FindingKind } from './finding.js';
import { maxTold } from './state.js';

/** A fork stays true once it was found: the log signed it. Others end, and are told again when they come back. */
const lasting: ReadonlySet<FindingKind> = new Set(['fork']);

/** Before the id of what is being told. */
const begun = '~';
const unmarked = (id: string): string => (id.startsWith(begun) ? id.slice(begun.length) : id);

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

  /** Whether it was begun to be told and nothing is known of the end: it may have been. */
  wasBegun(finding: Finding): boolean {
    return this.#ids.includes(`${begun}${this.#idOf(finding)}`);
  }

  begin(finding: Finding): readonly string[] {
    return this.#replace(finding, begun);
  }

  add(finding: Finding): readonly string[] {
    return this.#replace(finding, '');
  }

  #replace(finding: Finding, mark: string): readonly string[] {
    const id = this.#idOf(finding);
    this.#ids = [...this.#ids.filter((one) => unmarked(one) !== id), `${mark}${id}`].slice(-maxTold);
    return this.#ids;
  }

  /** Forgets what was not found any more. */
  endRound(found: readonly Finding[]): readonly string[] {
    const still = new Set(found.map((finding) => this.#idOf(finding)));
    this.#ids = this.#ids.filter((id) => still.has(unmarked(id)) || lasting.has(id.split(' ', 1)[0] as FindingKind));
    return this.#ids;
  }

  #idOf({ kind, key }: Finding): string {
    return `${kind} ${eventId(this.#logId, kind, key)}`;
  }
}
