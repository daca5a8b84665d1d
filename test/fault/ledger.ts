import type { KeyObject } from 'node:crypto';
import { embeddedScts, signedPrecertOf } from '../../src/cli/verify-certificate-fields.js';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import { verifySct } from '../../src/ct/sct.js';
import type { SignedTreeHead } from '../../src/ctlog/checkpoint.js';
import { readDirectory } from '../../src/ctlog/directory-storage.js';
import { fsckLog } from '../../src/ctlog/fsck.js';
import type { Received } from '../support/load.js';
import { GrowingTree, leafHashOf } from './tree.js';

/** What a log must never do, and how often it did. */
export interface Verdict {
  /** SCTs whose entry is not at the index they carry, or is another. */
  readonly lost: number;
  /** Tree heads whose root is not the one of the log's first entries, and proofs and files that contradict the tree. */
  readonly forked: number;
  /** Tree heads that were smaller or older than one seen before. */
  readonly backwards: number;
  /** The first few failures, in words. */
  readonly details: readonly string[];
}

export interface LedgerLog {
  readonly directory: string;
  readonly origin: string;
  readonly key: KeyObject;
}

const maxDetails = 10;

/** Where the SCT of a certificate says its entry is, and that entry's leaf hash; throws when the SCT does not verify. */
export function placeOf([leaf, issuer]: Received, logKey: KeyObject): { index: number; hash: Buffer } {
  const [sct] = leaf === undefined ? [] : embeddedScts(leaf);
  if (leaf === undefined || issuer === undefined || sct === undefined) throw new Error('a certificate has no SCT');
  const { timestamp, extensions } = sct;
  const index = decodeLeafIndex(extensions);
  if (index === undefined) throw new Error('an SCT carries no leaf index');
  const precert = signedPrecertOf(leaf, issuer);
  if (!verifySct(sct, precert, logKey)) throw new Error(`the SCT of entry ${index} does not verify`);
  const entry = { timestamp, entry: { type: 'precert', ...precert }, extensions } as const;
  return { index, hash: leafHashOf(encodeMerkleTreeLeaf(encodeTimestampedEntry(entry))) };
}

/**
 * Everything a log handed out, so that the log can be held to it later: a hash for each SCT, and each distinct tree head.
 */
export class Ledger {
  /** By leaf index, the leaf hash that an SCT promised. */
  readonly #promised = new Map<number, Buffer>();
  /** By tree size, the roots that were seen. */
  readonly #heads = new Map<number, Map<string, Buffer>>();
  readonly #details: string[] = [];
  #certificates = 0;
  #headsSeen = 0;
  #last = { size: 0, timestamp: 0 };
  #lost = 0;
  #forked = 0;
  #backwards = 0;

  get certificates(): number {
    return this.#certificates;
  }

  get headsSeen(): number {
    return this.#headsSeen;
  }

  /** Notes a certificate that a client received. */
  promised(certificate: Received, logKey: KeyObject): void {
    const { index, hash } = placeOf(certificate, logKey);
    this.#certificates += 1;
    const before = this.#promised.get(index);
    if (before !== undefined && !before.equals(hash)) this.#lose(`two certificates were promised entry ${index}`);
    this.#promised.set(index, hash);
  }

  /** Notes a tree head. Call in the order in which one reader saw them. */
  saw(head: SignedTreeHead): void {
    this.#headsSeen += 1;
    const before = this.#last;
    if (head.size < before.size || head.timestamp < before.timestamp) {
      this.#backwards += 1;
      this.#detail(`a tree head of size ${head.size} at ${head.timestamp} after ${before.size} at ${before.timestamp}`);
    }
    this.#last = head;
    this.sawRoot(head.size, head.root);
  }

  /** Notes a root, for example one that a proof led to. */
  sawRoot(size: number, root: Uint8Array): void {
    const roots = this.#heads.get(size) ?? new Map<string, Buffer>();
    this.#heads.set(size, roots.set(Buffer.from(root).toString('hex'), Buffer.from(root)));
  }

  /** Notes an answer that contradicts another, in words. */
  contradicted(detail: string): void {
    this.#fork(detail);
  }

  /** Holds the stored log, which nobody may be writing to, against everything noted so far. */
  async check({ directory, origin, key }: LedgerLog): Promise<{ size: number }> {
    const tree = new GrowingTree();
    const found = new Set<number>();
    this.#checkRoots(tree);
    const summary = await fsckLog(readDirectory(directory), {
      logKey: key,
      origin,
      report: ({ file, expected, found: instead }) => this.#fork(`${file}: expected ${expected}; found ${instead}`),
      onLeaf: (leaf, index) => {
        const hash = leafHashOf(leaf.merkleTreeLeaf);
        if (this.#promised.get(index)?.equals(hash) === true) found.add(index);
        tree.add(hash);
        this.#checkRoots(tree);
      },
    });
    for (const index of this.#promised.keys()) {
      if (!found.has(index))
        this.#lose(`entry ${index} is not what its SCT promised; the log has ${tree.size} entries`);
    }
    for (const size of this.#heads.keys()) {
      if (size > tree.size) this.#fork(`a tree head of size ${size} was seen; the log has ${tree.size} entries`);
    }
    if (summary === undefined) this.#fork('the log has no usable checkpoint');
    return { size: tree.size };
  }

  verdict(): Verdict {
    return { lost: this.#lost, forked: this.#forked, backwards: this.#backwards, details: this.#details };
  }

  #checkRoots(tree: GrowingTree): void {
    const roots = this.#heads.get(tree.size);
    if (roots === undefined) return;
    const expected = Buffer.from(tree.root());
    for (const root of roots.values()) {
      if (!root.equals(expected)) this.#fork(`another root hash of size ${tree.size} was seen`);
    }
  }

  #lose(detail: string): void {
    this.#lost += 1;
    this.#detail(detail);
  }

  #fork(detail: string): void {
    this.#forked += 1;
    this.#detail(detail);
  }

  #detail(text: string): void {
    if (this.#details.length < maxDetails) this.#details.push(text);
  }
}
