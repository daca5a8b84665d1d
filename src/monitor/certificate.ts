import { createHash } from 'node:crypto';
import { messageOf } from '../errors.js';
import { type Certificate, parseCertificate } from '../x509/certificate.js';
import {
  children,
  contentOf,
  type DerNode,
  encodeElement,
  encodeSequence,
  encodingOf,
  expectTag,
  readDer,
  readOid,
  tag,
} from '../x509/der.js';
import { extensionNames, identityExtensions, sigstoreArc } from '../x509/extensions.js';
import { describeName } from '../x509/name.js';

/** One subject alternative name, as text. */
export interface NamedSubject {
  readonly kind: 'email' | 'dns' | 'uri' | 'ip' | 'username' | 'other';
  readonly value: string;
}

/** A certificate of a log, as far as it could be read; every text in it is whatever the log contains. */
export interface LoggedCertificate {
  /** Hex. */
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** For people. */
  readonly issuer: string;
  readonly subject: string;
  readonly names: readonly NamedSubject[];
  /** Values of the Fulcio extensions by their names in a YAML configuration. */
  readonly extensions: Readonly<Record<string, string>>;
  /** What could not be read, by part: `names`, or the name of an extension. */
  readonly problems: Readonly<Record<string, string>>;
}

const sanOid = '2.5.29.17';
const usernameOid = `${sigstoreArc}.7`;
const maxNames = 1024;

/**
 * Takes a logged certificate apart; throws DerError for what is none. A broken extension is not the end of it: it is named
 * in `problems`, so that a certificate cannot hide behind one.
 */
export function describeCertificate(certificate: Certificate): LoggedCertificate {
  const problems: Record<string, string> = {};
  const attempt = <T>(part: string, read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      problems[part] = messageOf(error);
      return undefined;
    }
  };
  const extensions: Record<string, string> = {};
  for (const name of extensionNames) {
    const { arc, encoding, yaml } = identityExtensions[name];
    const found = certificate.extensions.find(({ oid }) => oid === `${sigstoreArc}.${arc}`);
    if (found === undefined) continue;
    const value = attempt(yaml, () => textOf(encoding === 'raw' ? found.value : utf8StringIn(found.value, yaml)));
    if (value !== undefined) extensions[yaml] = value;
  }
  const san = certificate.extensions.find(({ oid }) => oid === sanOid);
  return {
    serial: Buffer.from(certificate.serial).toString('hex'),
    notBefore: certificate.notBefore,
    notAfter: certificate.notAfter,
    issuer: describeName(certificate.issuer),
    subject: describeName(certificate.subject),
    names: san === undefined ? [] : (attempt('names', () => namesIn(san.value)) ?? []),
    extensions,
    problems,
  };
}

/**
 * The Certificate around a TBSCertificate, with an empty signature: the tree has the TBSCertificate of a precertificate
 * only. Throws DerError.
 */
export function certificateAround(tbs: Uint8Array): Certificate {
  const [, , algorithm] = children(expectTag(readDer(tbs), tag.sequence, 'the TBSCertificate'));
  const inner = encodingOf(expectTag(algorithm, tag.sequence, 'the TBSCertificate signature algorithm'));
  return parseCertificate(encodeSequence(tbs, inner, encodeElement(tag.bitString, Uint8Array.of(0))));
}

/** SHA-256 of a DER SubjectPublicKeyInfo, as in issuer_key_hash (RFC 6962 Section 3.2). */
export function keyHashOf({ spki }: Pick<Certificate, 'spki'>): Uint8Array {
  return createHash('sha256').update(spki).digest();
}

function utf8StringIn(value: Uint8Array, what: string): Uint8Array {
  return contentOf(expectTag(readDer(value), tag.utf8String, `extension ${what}`));
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

function namesIn(value: Uint8Array): NamedSubject[] {
  return children(expectTag(readDer(value), tag.sequence, 'subjectAltName'), maxNames).map(nameOf);
}

const textKinds: Readonly<Record<number, NamedSubject['kind']>> = {
  [tag.contextPrimitive(1)]: 'email',
  [tag.contextPrimitive(2)]: 'dns',
  [tag.contextPrimitive(6)]: 'uri',
};

/** GeneralName (RFC 5280 Section 4.2.1.6). */
function nameOf(node: DerNode): NamedSubject {
  const kind = textKinds[node.tag];
  if (kind !== undefined) return { kind, value: textOf(contentOf(node)) };
  if (node.tag === tag.contextPrimitive(7)) return { kind: 'ip', value: addressOf(contentOf(node)) };
  const username = node.tag === tag.context(0) ? usernameOf(node) : undefined;
  if (username !== undefined) return { kind: 'username', value: username };
  return { kind: 'other', value: Buffer.from(encodingOf(node)).toString('hex') };
}

function usernameOf(name: DerNode): string | undefined {
  const [typeId, wrapped] = children(name);
  if (wrapped === undefined || readOid(typeId, 'the type of the name') !== usernameOid) return undefined;
  return textOf(contentOf(expectTag(children(wrapped)[0], tag.utf8String, 'the name')));
}

function addressOf(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  return (
    Buffer.from(bytes)
      .toString('hex')
      .match(/.{1,4}/g)
      ?.join(':') ?? ''
  );
}
