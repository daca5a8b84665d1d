/**
 * Checks, in the browser and with WebCrypto alone, that an entry is in a log: RFC 6962 Sections 2.1 and 3.4,
 * c2sp.org/signed-note and c2sp.org/static-ct-api. Nothing that the server says is believed here but the log's key.
 */

/** A proof that does not hold; the message says what was found. */
export class ProofError extends Error {}

/** @typedef {{ name: string, ok: boolean, detail: string }} Step */

/**
 * @param {{ pem: string, index: number, leafInput: string, auditPath: string[], checkpoint: string,
 *   origin: string, logId: string, publicKey: string }} claim
 * @param {SubtleCrypto} subtle
 * @returns {Promise<Step[]>} every check in turn, up to and with the first that fails
 */
export async function checkEntry(claim, subtle) {
  /** @type {Step[]} */
  const steps = [];
  /** @param {string} name @param {() => Promise<string> | string} check */
  const step = async (name, check) => {
    try {
      steps.push({ name, ok: true, detail: await check() });
      return true;
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      steps.push({ name, ok: false, detail });
      return false;
    }
  };
  const hash = async (/** @type {Uint8Array[]} */ ...parts) =>
    new Uint8Array(await subtle.digest('SHA-256', join(parts)));
  /** @type {{ size: number, root: Uint8Array, timestamp: number } | undefined} */
  let head;
  const isGood =
    (await step('The entry is the certificate shown', () =>
      checkSameCertificate(fromBase64(claim.leafInput), pemBytes(claim.pem)),
    )) &&
    (await step('The key is that of the log', () => checkKey(claim, hash))) &&
    (await step('The checkpoint is signed by the log', async () => {
      head = await openCheckpoint(claim, subtle, hash);
      return `${head.size} ${head.size === 1 ? 'entry' : 'entries'}, signed ${new Date(head.timestamp).toISOString()}, root ${toHex(head.root)}`;
    }));
  if (!isGood) return steps;
  await step('The entry is in the tree of that checkpoint', async () => {
    if (head === undefined) throw new ProofError('there is no checkpoint');
    const leaf = await hash(Uint8Array.of(0), fromBase64(claim.leafInput));
    const path = claim.auditPath.map(fromBase64);
    const root = await rootOf(claim.index, head.size, leaf, path, hash);
    if (toHex(root) !== toHex(head.root))
      throw new ProofError(`the proof leads to ${toHex(root)}, the checkpoint has ${toHex(head.root)}`);
    return `leaf ${toHex(leaf)} and ${path.length} ${path.length === 1 ? 'hash' : 'hashes'} lead to the root`;
  });
  return steps;
}

/**
 * The root that an audit path leads to (RFC 9162 Section 2.1.3.2); throws ProofError for one that fits no tree.
 * @param {number} index
 * @param {number} size
 * @param {Uint8Array} leaf
 * @param {Uint8Array[]} path
 * @param {(...parts: Uint8Array[]) => Promise<Uint8Array>} hash
 */
export async function rootOf(index, size, leaf, path, hash) {
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) {
    throw new ProofError(`entry ${index} is not among the ${size} of the checkpoint`);
  }
  let [node, last, root] = [index, size - 1, leaf];
  for (const sibling of path) {
    if (sibling.length !== 32) throw new ProofError(`a hash of the proof has ${sibling.length} bytes instead of 32`);
    if (last === 0) throw new ProofError('the proof is too long for the tree');
    if (node % 2 === 1 || node === last) {
      root = await hash(Uint8Array.of(1), sibling, root);
      while (node % 2 === 0 && node !== 0) [node, last] = [node / 2, Math.floor(last / 2)];
    } else {
      root = await hash(Uint8Array.of(1), root, sibling);
    }
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  if (last !== 0) throw new ProofError('the proof is too short for the tree');
  return root;
}

/**
 * @param {{ logId: string, publicKey: string }} claim
 * @param {(...parts: Uint8Array[]) => Promise<Uint8Array>} hash
 */
async function checkKey({ logId, publicKey }, hash) {
  const found = toHex(await hash(fromBase64(publicKey)));
  if (found !== logId) throw new ProofError(`the key's SHA-256 is ${found}, the log ID ${logId}`);
  return `its SHA-256, the log ID, is ${found}`;
}

/**
 * Reads the note and checks the log's signature (an RFC6962NoteSignature over the TreeHeadSignature).
 * @param {{ checkpoint: string, origin: string, publicKey: string }} claim
 * @param {SubtleCrypto} subtle
 * @param {(...parts: Uint8Array[]) => Promise<Uint8Array>} hash
 */
async function openCheckpoint({ checkpoint, origin, publicKey }, subtle, hash) {
  const [, name, sizeText = '', rootText = '', lines = ''] =
    /^([^\n]+)\n(0|[1-9][0-9]{0,12})\n([A-Za-z0-9+/]{43}=)\n\n((?:— [^\n]+\n)+)$/.exec(checkpoint) ?? [];
  if (name === undefined) throw new ProofError('it is no checkpoint: expected origin, size, root and signatures');
  if (name !== origin) throw new ProofError(`it is of the log "${name}"; this one is "${origin}"`);
  const spki = fromBase64(publicKey);
  const keyId = (await hash(new TextEncoder().encode(`${origin}\n`), Uint8Array.of(5), await hash(spki))).subarray(
    0,
    4,
  );
  const own = lines
    .split('\n')
    .filter((line) => line.startsWith(`— ${origin} `))
    .map((line) => fromBase64(line.slice(origin.length + 3)))
    .find((blob) => toHex(blob.subarray(0, 4)) === toHex(keyId));
  if (own === undefined || own.length < 16) throw new ProofError('it has no signature by the key of this log');
  const [size, root, time] = [Number(sizeText), fromBase64(rootText), own.subarray(4, 12)];
  const signed = join([Uint8Array.of(0, 1), time, uint64(size), root]);
  const [hashId, signatureId] = own.subarray(12, 14);
  if (hashId !== 4 || signatureId !== 3) throw new ProofError('its signature is not ECDSA with SHA-256');
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const key = await subtle.importKey('spki', spki, algorithm, false, ['verify']);
  if (!(await subtle.verify(algorithm, key, rawSignature(own.subarray(16)), signed))) {
    throw new ProofError("the signature does not verify with the log's key");
  }
  return { size, root, timestamp: Number(new DataView(time.buffer, time.byteOffset, 8).getBigUint64(0)) };
}

/** SEQUENCE { INTEGER r, INTEGER s } as the 64 bytes that WebCrypto takes. @param {Uint8Array} der */
function rawSignature(der) {
  const raw = new Uint8Array(64);
  const parts = elements(readElement(der, 0).content);
  if (parts.length !== 2) throw new ProofError('its signature is malformed');
  parts.forEach(({ content }, i) => {
    const digits = content[0] === 0 ? content.subarray(1) : content;
    if (digits.length > 32) throw new ProofError('its signature is malformed');
    raw.set(digits, 32 * (i + 1) - digits.length);
  });
  return raw;
}

/** 1.3.6.1.4.1.11129.2.4.3, critical, NULL: what makes a precertificate one (RFC 6962 Section 3.1). */
const poison = '3013060a2b06010401d6790204030101ff04020500';

/**
 * A leaf holds the certificate, or of a precertificate the TBSCertificate without its poison.
 * @param {Uint8Array} leaf MerkleTreeLeaf
 * @param {Uint8Array} certificate DER
 */
export function checkSameCertificate(leaf, certificate) {
  const type = (leaf[10] ?? 0) * 256 + (leaf[11] ?? 0);
  const isPrecert = type === 1;
  if (leaf[0] !== 0 || leaf[1] !== 0 || type > 1) throw new ProofError('the leaf is not of a kind that RFC 6962 knows');
  const at = isPrecert ? 44 : 12;
  const length = ((leaf[at] ?? 0) << 16) | ((leaf[at + 1] ?? 0) << 8) | (leaf[at + 2] ?? 0);
  const logged = leaf.subarray(at + 3, at + 3 + length);
  const shown = isPrecert ? withoutPoison(certificate) : certificate;
  if (logged.length !== length || toHex(logged) !== toHex(shown)) {
    throw new ProofError('the entry in the log is of another certificate');
  }
  return isPrecert ? 'the log holds what the precertificate says, without its poison extension' : 'byte for byte';
}

/** The TBSCertificate of a precertificate without the poison extension. @param {Uint8Array} der */
function withoutPoison(der) {
  const certificate = readElement(der, 0);
  const tbs = elements(certificate.content)[0];
  const parts = tbs === undefined ? [] : elements(tbs.content);
  const last = parts.at(-1);
  const isCertificate = certificate.tag === 0x30 && certificate.end === der.length && tbs?.tag === 0x30;
  if (!isCertificate || tbs === undefined || last === undefined || last.tag !== 0xa3)
    throw new ProofError('the certificate has no extensions');
  const list = readElement(last.content, 0);
  if (list.tag !== 0x30 || list.end !== last.content.length) throw new ProofError('the certificate is malformed');
  const kept = elements(list.content).filter(({ whole }) => toHex(whole) !== poison);
  if (kept.length === elements(list.content).length)
    throw new ProofError('the certificate shown is not a precertificate');
  const extensions = element(0xa3, element(0x30, join(kept.map(({ whole }) => whole))));
  return element(0x30, join([...parts.slice(0, -1).map(({ whole }) => whole), extensions]));
}

/** @param {Uint8Array} bytes @param {number} start */
function readElement(bytes, start) {
  const first = bytes[start + 1] ?? 0;
  const size = first < 0x80 ? 0 : first & 0x7f;
  let length = size === 0 ? first : 0;
  for (let i = 0; i < size; i++) length = length * 256 + (bytes[start + 2 + i] ?? 0);
  const from = start + 2 + size;
  const end = from + length;
  if (size > 3 || end > bytes.length) throw new ProofError('the certificate is malformed');
  return { tag: bytes[start] ?? 0, content: bytes.subarray(from, end), whole: bytes.subarray(start, end), end };
}

/** @param {Uint8Array} content */
function elements(content) {
  const found = [];
  for (let at = 0; at < content.length; ) {
    const next = readElement(content, at);
    found.push(next);
    at = next.end;
  }
  return found;
}

/** @param {number} tag @param {Uint8Array} content */
function element(tag, content) {
  const { length } = content;
  const bytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  if (length > 0xffff) throw new ProofError('the certificate is too large');
  return join([Uint8Array.of(tag, ...bytes), content]);
}

/** @param {Uint8Array[]} parts */
function join(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** @param {number} value */
function uint64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** @param {string} pem */
function pemBytes(pem) {
  return fromBase64(pem.replace(/-----[^-]+-----/g, '').replace(/\s/g, ''));
}

/** @param {string} text */
export function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new ProofError('something that should be base64 is not');
  }
}

/** @param {Uint8Array} bytes */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
