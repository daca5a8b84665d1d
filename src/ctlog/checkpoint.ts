import { createHash, type KeyObject } from 'node:crypto';
import { signDigitally, verifyDigitally } from '../ct/digitally-signed.js';
import { logIdOf } from '../ct/sct.js';
import { TlsReader, uint } from '../ct/tls.js';
import { type Hash, sameHash } from './merkle.js';

/** A tree head: what a log commits to (RFC 6962 Section 3.5). */
export interface TreeHead {
  readonly size: number;
  readonly root: Hash;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
}

/** A signed tree head whose signature was checked. */
export interface SignedTreeHead extends TreeHead {
  /** The DigitallySigned struct over the TreeHeadSignature (RFC 6962 Section 3.5). */
  readonly signature: Uint8Array;
}

/** A text that is not a checkpoint of the log in question; the message says what was found. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
}

/** Type byte of an RFC6962NoteSignature (static-ct-api, "Checkpoints"). */
const noteSignatureType = 0x05;
const maxCheckpointBytes = 64 * 1024;

/** TreeHeadSignature: the bytes a tree head's signature covers (RFC 6962 Section 3.5). */
export function treeHeadSigningInput({ size, root, timestamp }: TreeHead): Uint8Array {
  return Buffer.concat([Uint8Array.of(0, 1), uint(BigInt(timestamp), 8), uint(BigInt(size), 8), root]);
}

/** Whether `sth` was signed by `key`. */
export function verifyTreeHead(sth: SignedTreeHead, key: KeyObject): boolean {
  return verifyDigitally(treeHeadSigningInput(sth), sth.signature, key);
}

/** The four-byte key id of the note's signature line. */
export function noteKeyId(origin: string, logId: Uint8Array): Uint8Array {
  const hash = createHash('sha256').update(`${origin}\n`).update(Uint8Array.of(noteSignatureType)).update(logId);
  return hash.digest().subarray(0, 4);
}

/** Who signs: `keyId` is `noteKeyId` of the origin, computed once. */
export interface CheckpointSigner {
  /** The log's submission prefix without scheme and trailing slash. */
  readonly origin: string;
  readonly keyId: Uint8Array;
  readonly key: KeyObject;
}

/** Signs a tree head with the log's private key. */
export function signTreeHead(head: TreeHead, key: KeyObject): SignedTreeHead {
  return { ...head, signature: signDigitally(treeHeadSigningInput(head), key) };
}

/** The checkpoint (c2sp.org/tlog-checkpoint) of a signed tree head, a signed note in UTF-8. */
export function formatCheckpoint(sth: SignedTreeHead, signer: Pick<CheckpointSigner, 'origin' | 'keyId'>): Uint8Array {
  const { origin, keyId } = signer;
  const signature = Buffer.concat([keyId, uint(BigInt(sth.timestamp), 8), sth.signature]).toString('base64');
  const body = `${origin}\n${sth.size}\n${Buffer.from(sth.root).toString('base64')}\n`;
  return Buffer.from(`${body}\n— ${origin} ${signature}\n`);
}

/** Which log a checkpoint must be of. */
export interface CheckpointVerifier {
  readonly origin: string;
  readonly logKey: KeyObject;
}

/**
 * Parses a checkpoint and checks the log's own signature; lines of other signers are ignored, as c2sp.org/signed-note
 * demands. Throws CheckpointError for another log's, an unsigned or a malformed one.
 */
export function openCheckpoint(note: Uint8Array, { origin, logKey }: CheckpointVerifier): SignedTreeHead {
  const { head, signatures } = parseNote(note);
  if (head.origin !== origin) {
    throw new CheckpointError(`its origin is "${head.origin.slice(0, 200)}"; this log's is "${origin}"`);
  }
  const keyId = noteKeyId(origin, logIdOf(logKey));
  const own = signatures.filter((s) => s.name === origin && sameHash(s.blob.subarray(0, 4), keyId));
  const [line, ...more] = own;
  if (line === undefined) throw new CheckpointError(`it holds no signature line of this log's key for "${origin}"`);
  if (more.length > 0) throw new CheckpointError('it holds two signature lines of the same key');
  const reader = new TlsReader(line.blob.subarray(4), 'RFC6962NoteSignature');
  const timestamp = reader.remaining >= 8 ? Number(reader.uint64('timestamp')) : Number.NaN;
  if (!Number.isSafeInteger(timestamp)) throw new CheckpointError('its signature holds no usable timestamp');
  const signature = reader.bytes(reader.remaining, 'signature');
  const sth = { size: head.size, root: head.root, timestamp, signature };
  if (!verifyTreeHead(sth, logKey)) throw new CheckpointError("its signature does not verify with this log's key");
  return sth;
}

interface Note {
  readonly head: { readonly origin: string; readonly size: number; readonly root: Hash };
  readonly signatures: readonly { readonly name: string; readonly blob: Uint8Array }[];
}

const bodyPattern = /^([^\n]+)\n(0|[1-9][0-9]{0,12})\n([A-Za-z0-9+/]{43}=)\n$/;
const linePattern = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/;

function parseNote(note: Uint8Array): Note {
  if (note.length > maxCheckpointBytes) throw new CheckpointError(`it is ${note.length} bytes long`);
  const text = decodeText(note);
  const split = text.indexOf('\n\n');
  if (split < 0 || !text.endsWith('\n')) throw new CheckpointError('it is not a signed note: no signature block');
  const [, origin, size, root] = bodyPattern.exec(text.slice(0, split + 1)) ?? [];
  if (origin === undefined || size === undefined || root === undefined) {
    throw new CheckpointError('it is not three lines of origin, decimal tree size and base64 root hash');
  }
  const rootHash = Buffer.from(root, 'base64');
  if (rootHash.toString('base64') !== root) throw new CheckpointError('its root hash is not canonical base64');
  const lines = text.slice(split + 2, -1).split('\n');
  return { head: { origin, size: Number(size), root: rootHash }, signatures: lines.map(parseSignatureLine) };
}

function parseSignatureLine(line: string): { name: string; blob: Uint8Array } {
  const [, name, base64] = linePattern.exec(line) ?? [];
  if (name === undefined || base64 === undefined) throw new CheckpointError('it holds a malformed signature line');
  const blob = Buffer.from(base64, 'base64');
  if (blob.length < 5 || blob.toString('base64') !== base64) {
    throw new CheckpointError('it holds a signature line that is not canonical base64');
  }
  return { name, blob };
}

function decodeText(note: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(note);
  } catch (cause) {
    throw new CheckpointError('it is not UTF-8 text', { cause });
  }
}
