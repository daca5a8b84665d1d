import { readFileSync } from 'node:fs';
import { AppError, messageOf } from '../errors.js';
import { parseVerifierKey, signatureType, type VerifierKey } from './witness-note.js';

/** One who is asked to cosign. */
export interface Witness {
  /** Its name in the policy. */
  readonly name: string;
  readonly key: VerifierKey;
  /** Submission prefix (c2sp.org/tlog-witness). */
  readonly url: string;
}

/** Whom to ask, and whose cosignatures are enough. */
export interface WitnessPolicy {
  readonly witnesses: readonly Witness[];
  /** Whether the witnesses of these names are a quorum. */
  satisfiedBy(names: ReadonlySet<string>): boolean;
}

/** So many of these must have cosigned. */
interface Group {
  readonly threshold: number;
  readonly members: readonly string[];
}

interface Draft {
  readonly witnesses: Map<string, Witness>;
  /** In the order of the file, so that each comes after its members. */
  readonly groups: Map<string, Group>;
  /** Base64 of the log keys seen. */
  readonly logKeys: Set<string>;
  readonly grouped: Set<string>;
  quorum?: string;
}

const maxBytes = 256 * 1024;
const none = 'none';

/** Reads a policy file; throws AppError STARTUP naming `setting`, the file, the line and what is wrong in it. */
export function readWitnessPolicy(file: string, setting: string): WitnessPolicy {
  try {
    return parseWitnessPolicy(readFileSync(file));
  } catch (cause) {
    throw new AppError('STARTUP', `${setting} ${file}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Parses a policy of c2sp.org/tlog-policy: `log`, `witness`, `group` and `quorum` lines. Logs are for those who verify:
 * they are checked and passed over, so that one file serves both. Each witness must have a URL and an Ed25519 key, of
 * signature type 4 (cosignature/v1) or, as many tools write it, 1. Throws Error naming the line.
 */
export function parseWitnessPolicy(bytes: Uint8Array): WitnessPolicy {
  const draft: Draft = { witnesses: new Map(), groups: new Map(), logKeys: new Set(), grouped: new Set() };
  decode(bytes)
    .split('\n')
    .forEach((line, index) => {
      const [keyword = '', ...items] = line.split(/[ \t]+/).filter((item) => item !== '');
      if (keyword === '' || keyword.startsWith('#')) return;
      try {
        const define = definitions.get(keyword);
        if (define === undefined)
          throw new Error(`"${clip(keyword)}" is unknown; expected log, witness, group or quorum`);
        define(draft, items);
      } catch (cause) {
        throw new Error(`line ${index + 1}: ${messageOf(cause)}`, { cause });
      }
    });
  const { witnesses, groups, quorum } = draft;
  if (quorum === undefined) throw new Error('it has no quorum line; expected one, such as "quorum none"');
  return {
    witnesses: [...witnesses.values()],
    satisfiedBy: (names) => quorum === none || reached(groups, names).has(quorum),
  };
}

/** The names of witnesses that cosigned, and of groups that have enough members that did. */
function reached(groups: ReadonlyMap<string, Group>, cosigned: ReadonlySet<string>): ReadonlySet<string> {
  const names = new Set(cosigned);
  for (const [name, { threshold, members }] of groups) {
    if (members.filter((member) => names.has(member)).length >= threshold) names.add(name);
  }
  return names;
}

type Define = (draft: Draft, items: readonly string[]) => void;

const definitions: ReadonlyMap<string, Define> = new Map<string, Define>([
  ['log', defineLog],
  ['witness', defineWitness],
  ['group', defineGroup],
  ['quorum', defineQuorum],
]);

function defineLog(draft: Draft, [vkey, url, ...more]: readonly string[]): void {
  if (vkey === undefined || more.length > 0) throw new Error('expected "log VKEY [URL]"');
  const key = parseKey(vkey);
  if (url !== undefined) requireUrl(url);
  addOnce(draft.logKeys, key, 'log');
}

function defineWitness(draft: Draft, [name, vkey, url, ...more]: readonly string[]): void {
  if (name === undefined || vkey === undefined || more.length > 0) throw new Error('expected "witness NAME VKEY URL"');
  requireNewName(draft, name);
  const key = parseKey(vkey);
  if (key.type !== signatureType.cosignature && key.type !== signatureType.ed25519) {
    throw new Error(
      `the key of "${clip(name)}" has signature type ${key.type}; expected 4, an Ed25519 cosignature key`,
    );
  }
  if (url === undefined) throw new Error(`the witness "${clip(name)}" has no URL to ask it at`);
  requireUrl(url);
  const same = [...draft.witnesses.values()].find((other) => Buffer.compare(other.key.publicKey, key.publicKey) === 0);
  if (same !== undefined)
    throw new Error(`"${clip(name)}" and "${clip(same.name)}" have one key, so they are one witness`);
  draft.witnesses.set(name, { name, key, url });
}

function defineGroup(draft: Draft, [name, rule, ...members]: readonly string[]): void {
  if (name === undefined || rule === undefined || members.length === 0) {
    throw new Error('expected "group NAME any|all|K MEMBER…"');
  }
  requireNewName(draft, name);
  for (const member of members) {
    requireDefined(draft, member);
    if (draft.grouped.has(member))
      throw new Error(`"${clip(member)}" is a member twice; expected once in the whole file`);
    draft.grouped.add(member);
  }
  draft.groups.set(name, { threshold: thresholdOf(rule, members.length), members });
}

function thresholdOf(rule: string, count: number): number {
  if (rule === 'any') return 1;
  if (rule === 'all') return count;
  const threshold = /^[1-9][0-9]{0,5}$/.test(rule) ? Number(rule) : Number.NaN;
  if (threshold <= count) return threshold;
  throw new Error(`the threshold is "${clip(rule)}"; expected any, all or a number from 1 to ${count}, the members`);
}

function defineQuorum(draft: Draft, [name, ...more]: readonly string[]): void {
  if (name === undefined || more.length > 0) throw new Error('expected "quorum NAME"');
  if (draft.quorum !== undefined) throw new Error('a second quorum; expected one');
  if (name !== none) requireDefined(draft, name);
  draft.quorum = name;
}

function requireNewName({ witnesses, groups }: Draft, name: string): void {
  if (name === none) throw new Error('the name "none" has a meaning of its own');
  if (witnesses.has(name) || groups.has(name)) throw new Error(`the name "${clip(name)}" is defined already`);
}

function requireDefined({ witnesses, groups }: Draft, name: string): void {
  if (witnesses.has(name) || groups.has(name)) return;
  throw new Error(`no line before this one defines a witness or group "${clip(name)}"`);
}

function parseKey(vkey: string): VerifierKey {
  try {
    return parseVerifierKey(vkey);
  } catch (cause) {
    throw new Error(`"${clip(vkey)}" ${messageOf(cause)}`, { cause });
  }
}

function addOnce(keys: Set<string>, { publicKey }: VerifierKey, what: string): void {
  const text = Buffer.from(publicKey).toString('base64');
  if (keys.has(text)) throw new Error(`the key of this ${what} stands in a line before`);
  keys.add(text);
}

function requireUrl(url: string): void {
  const protocol = URL.canParse(url) ? new URL(url).protocol : '';
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw new Error(`the URL is "${clip(url)}"; expected an http or https URL`);
  }
}

function decode(bytes: Uint8Array): string {
  if (bytes.length > maxBytes) throw new Error(`it is ${bytes.length} bytes long; expected at most ${maxBytes}`);
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  // The format knows tab and newline and no other control character (c2sp.org/tlog-policy, "Character set").
  const found = [...text].find((character) => character !== '\t' && character !== '\n' && /\p{Cc}/u.test(character));
  if (found === undefined) return text;
  throw new Error(`it holds the control character U+${found.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** File contents in messages, at most a line's worth. */
function clip(text: string): string {
  return text.length <= 100 ? text : `${text.slice(0, 100)}…`;
}
