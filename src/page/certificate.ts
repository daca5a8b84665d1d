import { createHash, createPublicKey } from 'node:crypto';
import { decodeMerkleTreeLeaf } from '../ct/leaf.js';
import { TlsReader } from '../ct/tls.js';
import type { LogEntry } from '../ctlog/reads.js';
import { messageOf } from '../errors.js';
import { type Certificate, parseCertificate } from '../x509/certificate.js';
import { identityExtensions, sigstoreArc } from '../x509/extensions.js';
import { describeName } from '../x509/name.js';
import { encodePem } from '../x509/pem.js';
import {
  describeExtension,
  type ExtensionText,
  extensionText,
  type SubjectName,
  subjectNames,
} from './extension-text.js';

/** What a list shows of an entry. Nothing in it is to be believed or clean: a CA signs what tokens said. */
export interface EntrySummary {
  readonly index: number;
  /** Milliseconds since the epoch, of the SCT. */
  readonly loggedAt: number;
  /** A log holds the precertificate of what our CA issues (RFC 6962 Section 3.1), and what others add with add-chain. */
  readonly kind: 'precertificate' | 'certificate';
  readonly names: readonly SubjectName[];
  /** The OpenID Connect issuer that the certificate names. */
  readonly issuer?: string;
  /** Hexadecimal. */
  readonly serial?: string;
  /** Milliseconds since the epoch. */
  readonly notBefore?: number;
  readonly notAfter?: number;
  /** Why there is nothing more. */
  readonly trouble?: string;
}

export interface EntryDetail extends EntrySummary {
  readonly pem: string;
  /** SHA-256 of the DER, hexadecimal. */
  readonly fingerprint: string;
  readonly issuedBy?: string;
  readonly subject?: string;
  readonly publicKey?: string;
  readonly signatureAlgorithm?: string;
  readonly extensions: readonly ExtensionText[];
}

/** Characters of one value in a list and on the page of one entry; the PEM has all of it. */
const listedLength = 240;
const shownLength = 8192;

interface Opened {
  readonly loggedAt: number;
  readonly kind: EntrySummary['kind'];
  readonly der: Uint8Array;
  readonly certificate: Certificate | undefined;
  readonly trouble?: string;
}

function openEntry(entry: LogEntry): Opened {
  const leaf = decodeMerkleTreeLeaf(entry.leafInput);
  const isPrecert = leaf.entry.type === 'precert';
  const der =
    leaf.entry.type === 'x509'
      ? leaf.entry.certificate
      : new TlsReader(entry.extraData, 'PrecertChainEntry').vector(3, 'pre_certificate');
  const base = { loggedAt: Number(leaf.timestamp), kind: isPrecert ? 'precertificate' : 'certificate', der } as const;
  try {
    return { ...base, certificate: parseCertificate(der) };
  } catch (error) {
    return { ...base, certificate: undefined, trouble: `it cannot be decoded: ${messageOf(error)}` };
  }
}

/** What can be searched for, in full length. */
export function searchedFields(entry: LogEntry): {
  readonly names: readonly SubjectName[];
  readonly issuers: readonly string[];
  readonly serial: string | undefined;
} {
  const { certificate } = openEntry(entry);
  if (certificate === undefined) return { names: [], issuers: [], serial: undefined };
  const issuer = issuerOf(certificate);
  return {
    names: subjectNames(certificate),
    issuers: issuer === undefined ? [] : [issuer],
    serial: serialOf(certificate),
  };
}

export function summaryOf(entry: LogEntry, index: number): EntrySummary {
  return summarize(openEntry(entry), index, listedLength);
}

function summarize({ loggedAt, kind, certificate, trouble }: Opened, index: number, length: number): EntrySummary {
  if (certificate === undefined)
    return { index, loggedAt, kind, names: [], ...(trouble === undefined ? {} : { trouble }) };
  const issuer = issuerOf(certificate);
  return {
    index,
    loggedAt,
    kind,
    names: subjectNames(certificate).map(({ type, value }) => ({ type, value: cut(value, length) })),
    ...(issuer === undefined ? {} : { issuer: cut(issuer, length) }),
    serial: serialOf(certificate),
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
  };
}

/** The whole certificate with its extensions named; an extension that is not what it should be is shown as bytes. */
export function detailOf(entry: LogEntry, index: number): EntryDetail {
  const opened = openEntry(entry);
  const { certificate, der } = opened;
  const base = {
    ...summarize(opened, index, shownLength),
    pem: encodePem('CERTIFICATE', der),
    fingerprint: createHash('sha256').update(der).digest('hex'),
  };
  if (certificate === undefined) return { ...base, extensions: [] };
  return {
    ...base,
    issuedBy: describeName(certificate.issuer),
    subject: describeName(certificate.subject),
    publicKey: keyText(certificate.spki),
    signatureAlgorithm: signatureAlgorithms[certificate.signatureAlgorithmOid] ?? certificate.signatureAlgorithmOid,
    extensions: certificate.extensions.map((extension) => {
      const described = describeExtension(extension);
      return { ...described, value: cut(described.value, shownLength) };
    }),
  };
}

/** Keeps the start of a long text, whole characters of it, and says how much is left out. */
function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  const start = text.slice(0, length).replace(/[\uD800-\uDBFF]$/, '');
  return `${start}… (${text.length - start.length} more characters)`;
}

function issuerOf(certificate: Certificate): string | undefined {
  const oids = [identityExtensions.issuerV2, identityExtensions.issuer].map(({ arc }) => `${sigstoreArc}.${arc}`);
  const found = oids.flatMap((oid) => certificate.extensions.filter((extension) => extension.oid === oid))[0];
  return found === undefined ? undefined : extensionText(found);
}

function serialOf({ serial }: Certificate): string {
  return Buffer.from(serial).toString('hex');
}

const signatureAlgorithms: Readonly<Record<string, string>> = {
  '1.2.840.10045.4.3.2': 'ECDSA with SHA-256',
  '1.2.840.10045.4.3.3': 'ECDSA with SHA-384',
  '1.2.840.10045.4.3.4': 'ECDSA with SHA-512',
  '1.2.840.113549.1.1.11': 'RSA (PKCS #1 v1.5) with SHA-256',
  '1.2.840.113549.1.1.12': 'RSA (PKCS #1 v1.5) with SHA-384',
  '1.2.840.113549.1.1.13': 'RSA (PKCS #1 v1.5) with SHA-512',
  '1.2.840.113549.1.1.10': 'RSA-PSS',
  '1.3.101.112': 'Ed25519',
};

const curves: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' };

/** "ECDSA P-256", "RSA, 3072 bits"; never throws. */
export function keyText(spki: Uint8Array): string {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const { namedCurve = '', modulusLength } = key.asymmetricKeyDetails ?? {};
    if (key.asymmetricKeyType === 'ec') return `ECDSA ${curves[namedCurve] ?? namedCurve}`;
    if (modulusLength !== undefined) return `RSA, ${modulusLength} bits`;
    return key.asymmetricKeyType === 'ed25519' ? 'Ed25519' : (key.asymmetricKeyType ?? 'unknown');
  } catch (error) {
    return `not readable: ${messageOf(error)}`;
  }
}
