import { createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from 'node:crypto';

/**
 * The parts of a signed note (c2sp.org/signed-note) that witnesses need: verifier keys, an Ed25519 line of the log
 * itself, and cosignatures (c2sp.org/tlog-cosignature).
 */

/** Signature types of c2sp.org/signed-note and c2sp.org/tlog-cosignature. */
export const signatureType = { ed25519: 0x01, cosignature: 0x04 } as const;

/** A verifier key ("vkey"): who signs, and by what. */
export interface VerifierKey {
  readonly name: string;
  readonly type: number;
  /** The public key's bytes without the type: 32 for Ed25519. */
  readonly publicKey: Uint8Array;
}

/** A signature line of a note, decoded. */
export interface SignatureLine {
  readonly name: string;
  /** Four bytes. */
  readonly keyId: Uint8Array;
  readonly signature: Uint8Array;
}

const keyPattern = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/;
const linePattern = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/;

/**
 * Parses `NAME+KEYID+BASE64` (c2sp.org/signed-note, "Verifier keys"); the key id of Ed25519 keys is checked. Throws
 * Error saying what is wrong.
 */
export function parseVerifierKey(text: string): VerifierKey {
  const [, name, id, base64] = keyPattern.exec(text) ?? [];
  const bytes = base64 === undefined ? undefined : decodeBase64(base64);
  const type = bytes?.[0];
  if (name === undefined || bytes === undefined || type === undefined) {
    throw new Error('is no verifier key; expected NAME+KEYID+BASE64 as in example.com/w1+jWbPPwAA…');
  }
  const key = { name, type, publicKey: bytes.subarray(1) };
  const isEd25519 = type === signatureType.ed25519 || type === signatureType.cosignature;
  if (isEd25519 && key.publicKey.length !== 32) {
    throw new Error(`holds an Ed25519 key of ${key.publicKey.length} bytes; expected 32`);
  }
  const expected = Buffer.from(keyIdOf(key)).toString('hex');
  if (isEd25519 && id !== expected) throw new Error(`has the key id ${id}; its name and key make ${expected}`);
  return key;
}

/** The text form of a verifier key. */
export function formatVerifierKey(key: VerifierKey): string {
  const bytes = Buffer.concat([Uint8Array.of(key.type), key.publicKey]);
  return `${key.name}+${Buffer.from(keyIdOf(key)).toString('hex')}+${bytes.toString('base64')}`;
}

/** The four-byte key id of a signature line of an Ed25519 key. */
export function keyIdOf({ name, type, publicKey }: VerifierKey): Uint8Array {
  const hash = createHash('sha256').update(`${name}\n`).update(Uint8Array.of(type)).update(publicKey);
  return hash.digest().subarray(0, 4);
}

/** The body that a note's signatures cover, with its final newline; throws Error when `note` has no signature block. */
export function noteBody(note: string): string {
  const split = note.indexOf('\n\n');
  if (split < 0) throw new Error('not a signed note');
  return note.slice(0, split + 1);
}

/** A signature line, with its newline. */
export function formatLine({ name, keyId, signature }: SignatureLine): string {
  return `— ${name} ${Buffer.concat([keyId, signature]).toString('base64')}\n`;
}

/** The well-formed signature lines in a text; everything else is passed over. */
export function readLines(text: string): SignatureLine[] {
  return text.split('\n').flatMap((line) => {
    const [, name, base64] = linePattern.exec(line) ?? [];
    const bytes = base64 === undefined ? undefined : decodeBase64(base64);
    if (name === undefined || bytes === undefined || bytes.length < 5) return [];
    return [{ name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) }];
  });
}

/**
 * The time of a cosignature/v1, in milliseconds since the epoch, or undefined when `line` is no cosignature of `witness`
 * over `body` (c2sp.org/tlog-cosignature, "Ed25519 signed message"). Whether the time makes sense is the caller's to say.
 */
export function cosignatureTime(line: SignatureLine, witness: VerifierKey, body: string): number | undefined {
  const key = { ...witness, type: signatureType.cosignature };
  if (line.name !== key.name || Buffer.compare(line.keyId, keyIdOf(key)) !== 0) return undefined;
  if (line.signature.length !== 72) return undefined;
  const blob = Buffer.from(line.signature);
  const seconds = blob.readBigUInt64BE(0);
  const message = Buffer.from(`cosignature/v1\ntime ${seconds}\n${body}`);
  const valid = verify(null, message, ed25519PublicKey(key.publicKey), blob.subarray(8));
  return valid ? Number(seconds) * 1000 : undefined;
}

/** The Ed25519 key by which a log signs its checkpoints for witnesses. */
export interface CheckpointKey {
  readonly verifier: VerifierKey;
  /** The signature line over a note's body. */
  line(body: string): string;
}

/**
 * The Ed25519 key that goes with a log's ECDSA P-256 private key. Witnesses verify checkpoints by Ed25519 only, which no
 * CT log may have for its SCTs (RFC 6962 Section 2.1.4). It is derived (HKDF-SHA256 of the private scalar), so there is
 * no second secret to keep, and a rotated log has a new one.
 */
export function checkpointKey(origin: string, logKey: KeyObject): CheckpointKey {
  const { d = '' } = logKey.export({ format: 'jwk' });
  const seed = hkdfSync(
    'sha256',
    Buffer.from(d, 'base64url'),
    new Uint8Array(0),
    'mayfly checkpoint key ed25519 v1',
    32,
  );
  const privateKey = createPrivateKey({
    key: Buffer.concat([pkcs8Ed25519, new Uint8Array(seed)]),
    format: 'der',
    type: 'pkcs8',
  });
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  const verifier = { name: origin, type: signatureType.ed25519, publicKey: Buffer.from(x, 'base64url') };
  const keyId = keyIdOf(verifier);
  return {
    verifier,
    line: (body) => formatLine({ name: origin, keyId, signature: sign(null, Buffer.from(body), privateKey) }),
  };
}

/** PrivateKeyInfo of an Ed25519 key up to its 32-byte seed (RFC 8410 Section 7). */
const pkcs8Ed25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

function ed25519PublicKey(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
