import type { SignedTreeHead } from '../ctlog/checkpoint.js';
import { appendLeaves, type Hash, type Peaks, peaksRoot } from '../ctlog/merkle.js';
import { createEntryChecker, type EntryChecker } from './entry-check.js';
import { inconsistencyEvent, type LogName, type MonitorEvent, matchEvent } from './events.js';
import { BadAnswer, Inconsistency } from './finding.js';
import { isConsistent } from './judge-head.js';
import type { Matcher } from './matcher.js';
import type { LogEntry, LogTree } from './source.js';

export interface CatchUpOptions {
  readonly log: LogName;
  readonly tree: LogTree;
  readonly head: SignedTreeHead;
  /** Where it begins. */
  readonly done: Peaks;
  readonly matcher: Matcher;
  /** Certificates of issuing CAs, DER, that are believed before those of the log. */
  readonly cas: readonly Uint8Array[];
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Delivers the events of proven entries and remembers that it did; `peaks` are those after them. */
  readonly commit: (peaks: Peaks, events: readonly MonitorEvent[]) => Promise<void>;
  readonly progress: (checked: number, total: number) => void;
}

/** Entries that are proven and delivered together: bounds memory, and the work that a crash repeats. */
const segmentEntries = 2048;
const segmentEvents = 256;

/**
 * Reads the entries up to the head, some at a time: each segment is found in the signed tree before anything of it is
 * believed, then delivered, then remembered. Throws Inconsistency `tree-mismatch` when the entries are not the tree's.
 */
export async function catchUp(options: CatchUpOptions): Promise<void> {
  const { tree, head, progress } = options;
  let [committed, peaks] = [options.done, options.done];
  let events: MonitorEvent[] = [];
  const check = createEntryChecker(options.cas);
  for await (const entries of tree.entries(peaks.size)) {
    peaks = appendLeaves(
      peaks,
      entries.map(({ leafHash }) => leafHash),
      () => {},
    );
    for (const entry of entries) events.push(...(await eventsOf(entry, check, options)));
    progress(peaks.size, head.size);
    const full = peaks.size - committed.size >= segmentEntries || events.length >= segmentEvents;
    if (!full && peaks.size < head.size) continue;
    await requireInTree(peaks, head, tree, committed.size);
    await options.commit(peaks, events);
    [committed, events] = [peaks, []];
  }
  if (peaks.size !== head.size) throw new BadAnswer(`its entries end at ${peaks.size} of ${head.size}`);
}

async function eventsOf(
  entry: LogEntry,
  check: EntryChecker,
  { log, head, matcher, clock }: CatchUpOptions,
): Promise<MonitorEvent[]> {
  const { candidate, findings } = await check(entry, head.timestamp);
  const events: MonitorEvent[] = findings.map((finding) => inconsistencyEvent(log, finding, clock()));
  if (candidate === undefined) return events;
  const matched = matcher(candidate);
  return matched === undefined ? events : [...events, matchEvent(log, entry, candidate, matched, clock())];
}

/** Throws Inconsistency `tree-mismatch` unless the tree with these peaks is the beginning of the signed one. */
export async function requireInTree(peaks: Peaks, head: SignedTreeHead, tree: LogTree, from: number): Promise<void> {
  const root = peaksRoot(peaks);
  const { size } = peaks;
  const proof: readonly Hash[] = size === 0 || size === head.size ? [] : await tree.consistencyProof(size, head.size);
  if (isConsistent({ size, root }, head, proof)) return;
  const hex = (hash: Hash): string => Buffer.from(hash).toString('hex');
  throw new Inconsistency({
    kind: 'tree-mismatch',
    key: 'entries',
    expected: `entries ${from} to ${size - 1} of the tree of ${head.size} entries with root hash ${hex(head.root)}`,
    found: `entries that give root hash ${hex(root)} at ${size} entries`,
  });
}
