import type { KeyObject } from 'node:crypto';
import type { ErrorCode } from '../errors.js';
import type { KeyAlgorithmName } from '../proof/key-algorithms.js';
import type { KeyPolicy, KeyRefusal, KeyRequest } from '../proof.js';
import { type Packed, Packer, Unpacker } from './packed.js';
import type {
  CertificateOrder,
  Completed,
  CompletionOrder,
  LeafTemplate,
  Precertified,
  PrecertOrder,
} from './steps.js';

/** A CA whose private key is in memory, as a thread gets it once. */
export interface ThreadCa {
  readonly id: number;
  readonly privateKey: KeyObject;
  readonly issuerName: Uint8Array;
  readonly authorityKeyId: Uint8Array;
  readonly issuerKeyHash: Uint8Array;
}

/** A log's private key, likewise; numbered with the CAs. */
export interface ThreadLogKey {
  readonly id: number;
  readonly privateKey: KeyObject;
}

export type Job =
  | { readonly id: number; readonly ca: number; readonly step: 'precertify'; readonly order: PrecertOrder }
  | { readonly id: number; readonly ca: number; readonly step: 'certify'; readonly order: CertificateOrder }
  | {
      readonly id: number;
      readonly ca: number;
      readonly step: 'complete';
      readonly order: CompletionOrder;
      readonly logKey: number;
    };

/** To a thread: keys it does not know yet, keys that no job will name again, and jobs that came at about the same time. */
export interface ToThread {
  readonly cas: readonly ThreadCa[];
  readonly logKeys: readonly ThreadLogKey[];
  readonly forget: readonly number[];
  readonly jobs: Packed;
}

/** An AppError without its cause, which may not be clonable. */
export interface ThrownError {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly retryAfterSeconds?: number | undefined;
  readonly rule?: string | undefined;
  /** What an unknown error said, for the log. */
  readonly cause?: string | undefined;
}

export type Outcome =
  | { readonly id: number; readonly precertified: Precertified }
  | { readonly id: number; readonly completed: Completed }
  | { readonly id: number; readonly certificate: Uint8Array }
  | { readonly id: number; readonly error: ThrownError };

/** From a thread: outcomes in the order in which they came. */
export type FromThread = Packed;

export function packJobs(jobs: readonly Job[]): Packed {
  const packer = new Packer();
  for (const job of jobs) {
    packer.add(job.id, job.ca, job.step);
    if (job.step === 'precertify') packPrecertOrder(packer, job.order);
    else {
      const { parts, precertificate } = job.order;
      packer.bytes(parts.fields, parts.extensions, precertificate);
      if (job.step === 'certify') packer.bytes(job.order.sctList);
      else {
        const { logId, timestamp, extensions } = job.order.sct;
        packer.add(job.logKey, Number(timestamp)).bytes(logId, extensions);
      }
    }
  }
  return packer.items;
}

export function unpackJobs(packed: Packed): Job[] {
  const from = new Unpacker(packed);
  const jobs: Job[] = [];
  while (!from.done) {
    const [id, ca, step] = [from.number(), from.number(), from.text()];
    if (step === 'precertify') jobs.push({ id, ca, step, order: unpackPrecertOrder(from) });
    else {
      const parts = { fields: from.bytes(), extensions: from.bytes() };
      const precertificate = from.bytes();
      if (step === 'certify') jobs.push({ id, ca, step, order: { parts, precertificate, sctList: from.bytes() } });
      else {
        const [logKey, timestamp] = [from.number(), BigInt(from.number())];
        const sct = { timestamp, logId: from.bytes(), extensions: from.bytes() };
        jobs.push({ id, ca, step: 'complete', logKey, order: { parts, precertificate, sct } });
      }
    }
  }
  return jobs;
}

export function packOutcomes(outcomes: readonly Outcome[]): FromThread {
  const packer = new Packer();
  for (const outcome of outcomes) {
    packer.add(outcome.id);
    if ('precertified' in outcome) {
      const { key, precertificate, parts, seconds } = outcome.precertified;
      packer.add('precertified', key.algorithm, key.fingerprint, seconds.proof, seconds.sign);
      packer.bytes(key.spki, precertificate, parts.fields, parts.extensions);
    } else if ('completed' in outcome) {
      const { seconds, signature, certificate } = outcome.completed;
      packer.add('completed', seconds).bytes(signature, certificate);
    } else if ('certificate' in outcome) packer.add('certificate').bytes(outcome.certificate);
    else packer.add('error', JSON.stringify(outcome.error));
  }
  return packer.items;
}

export function unpackOutcomes(packed: FromThread): Outcome[] {
  const from = new Unpacker(packed);
  const outcomes: Outcome[] = [];
  while (!from.done) {
    const [id, kind] = [from.number(), from.text()];
    if (kind === 'precertified') outcomes.push({ id, precertified: unpackPrecertified(from) });
    else if (kind === 'completed') {
      const seconds = from.number();
      outcomes.push({ id, completed: { seconds, signature: from.bytes(), certificate: from.bytes() } });
    } else if (kind === 'certificate') outcomes.push({ id, certificate: from.bytes() });
    else outcomes.push({ id, error: JSON.parse(from.text()) as ThrownError });
  }
  return outcomes;
}

function unpackPrecertified(from: Unpacker): Precertified {
  const algorithm = from.text() as KeyAlgorithmName;
  const fingerprint = from.text();
  const seconds = { proof: from.number(), sign: from.number() };
  const key = { algorithm, fingerprint, spki: from.bytes() };
  return { key, seconds, precertificate: from.bytes(), parts: { fields: from.bytes(), extensions: from.bytes() } };
}

function packPrecertOrder(packer: Packer, { request, challenges, policy, leaf, logged }: PrecertOrder): void {
  packRequest(packer, request);
  packer.add(logged, challenges.length, ...challenges);
  packer.add(textOf(policy.allowed), policy.refused === undefined ? '' : JSON.stringify([...policy.refused]));
  const { serial, notBefore, notAfter, san, extensions } = leaf;
  packer.add(notBefore.getTime(), notAfter.getTime(), JSON.stringify({ san, extensions })).bytes(serial);
}

function unpackPrecertOrder(from: Unpacker): PrecertOrder {
  const request = unpackRequest(from);
  const logged = from.boolean();
  const challenges: [string, ...string[]] = [''];
  const count = from.number();
  for (let i = 0; i < count; i++) challenges[i] = from.text();
  const allowed = setOf(from.text());
  const policy = withRefusals({ allowed }, from.text());
  const [notBefore, notAfter] = [new Date(from.number()), new Date(from.number())];
  const { san, extensions } = JSON.parse(from.text()) as Pick<LeafTemplate, 'san' | 'extensions'>;
  return { request, challenges, policy, logged, leaf: { serial: from.bytes(), notBefore, notAfter, san, extensions } };
}

/** The sets of algorithms that policies allow are few, and the same ones come again and again. */
const texts = new WeakMap<ReadonlySet<KeyAlgorithmName>, string>();
const sets = new Map<string, ReadonlySet<KeyAlgorithmName>>();
const maxSets = 64;

function textOf(allowed: ReadonlySet<KeyAlgorithmName>): string {
  const text = texts.get(allowed) ?? [...allowed].join(' ');
  texts.set(allowed, text);
  return text;
}

function setOf(text: string): ReadonlySet<KeyAlgorithmName> {
  const known = sets.get(text);
  if (known !== undefined) return known;
  if (sets.size === maxSets) sets.clear();
  const set = new Set(text.split(' ') as KeyAlgorithmName[]);
  sets.set(text, set);
  return set;
}

function withRefusals(policy: KeyPolicy, refused: string): KeyPolicy {
  if (refused === '') return policy;
  return { ...policy, refused: new Map(JSON.parse(refused) as [KeyAlgorithmName, KeyRefusal][]) };
}

function packRequest(packer: Packer, request: KeyRequest): void {
  if (request.kind === 'csr') packer.add('csr').bytes(request.csr);
  else if (typeof request.key === 'string') packer.add('text', request.key).bytes(request.proof);
  else packer.add('bytes').bytes(request.key, request.proof);
}

function unpackRequest(from: Unpacker): KeyRequest {
  const kind = from.text();
  if (kind === 'csr') return { kind, csr: from.bytes() };
  return { kind: 'publicKey', key: kind === 'text' ? from.text() : from.bytes(), proof: from.bytes() };
}
