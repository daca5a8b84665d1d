import { createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { parseCertificate } from '../x509/certificate.js';
import { encodeElement, encodeOid, encodeSequence, encodeTime, tag } from '../x509/der.js';
import { encodeName } from '../x509/name.js';
import { keyIdOf } from '../x509/spki.js';
import { encodeCertificate, encodeExtension, newSerial } from '../x509/tbs.js';
import { createKeySigner } from './file-signer.js';
import type { Signer } from './signer.js';

/** A certificate with its private key. */
export interface NewCa {
  /** DER. */
  readonly certificate: Uint8Array;
  readonly privateKey: KeyObject;
}

export interface NewCaOptions {
  readonly organization: string;
  readonly commonName: string;
  readonly curve: 'P-256' | 'P-384';
  /** Milliseconds since the epoch; the certificate is valid from this second on. */
  readonly now: number;
  readonly lifetimeDays: number;
  /** Unpredictable bytes for the serial number. */
  readonly random: (size: number) => Uint8Array;
}

/** Ten years, and half of it for the CA that works every day; both in days of 24 hours. */
export const rootLifetimeDays = 3650;
export const intermediateLifetimeDays = 1825;

const generate = promisify(generateKeyPair);
const dayMs = 24 * 60 * 60 * 1000;

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
const critical = true;
/** keyCertSign and cRLSign. */
const caKeyUsage = encodeExtension('2.5.29.15', critical, bytes(0x03, 0x02, 0x01, 0x06));
const anyLength = encodeExtension('2.5.29.19', critical, bytes(0x30, 0x03, 0x01, 0x01, 0xff));
const leavesOnly = encodeExtension('2.5.29.19', critical, bytes(0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00));
const codeSigningUsage = encodeExtension('2.5.29.37', !critical, encodeSequence(encodeOid('1.3.6.1.5.5.7.3.3')));

/** A self-signed root: CA:TRUE, keyCertSign and cRLSign, no extended key usage (COMPAT's CA profile). */
export async function createRoot(options: NewCaOptions): Promise<NewCa> {
  const { privateKey, publicKey } = await generate('ec', { namedCurve: options.curve });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const subject = encodeName(options);
  const certificate = await certify(createKeySigner(privateKey), {
    ...options,
    ...lifetime(options),
    subject,
    issuer: subject,
    spki,
    extensions: [anyLength, caKeyUsage, ...keyIds(spki, spki)],
  });
  return { certificate, privateKey };
}

/**
 * An issuing CA below `parent`: as the root, and extended key usage codeSigning and pathlen 0. Its validity ends no later
 * than its parent's.
 */
export async function createIntermediate(parent: NewCa, options: NewCaOptions): Promise<NewCa> {
  const { privateKey, publicKey } = await generate('ec', { namedCurve: options.curve });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const parentSpki = createPublicKey(parent.privateKey).export({ type: 'spki', format: 'der' });
  const issuer = parseCertificate(parent.certificate);
  const { notBefore, notAfter } = lifetime(options);
  const certificate = await certify(createKeySigner(parent.privateKey), {
    ...options,
    notBefore,
    notAfter: notAfter < issuer.notAfter ? notAfter : issuer.notAfter,
    subject: encodeName(options),
    issuer: issuer.subject,
    spki,
    extensions: [leavesOnly, caKeyUsage, codeSigningUsage, ...keyIds(spki, parentSpki)],
  });
  return { certificate, privateKey };
}

/**
 * The chain of a new instance: root P-384, issuing CA P-256. Their names share a random number, so that two instances'
 * CAs can be told apart.
 */
export async function createChain(
  organization: string,
  now: number,
  random: (size: number) => Uint8Array,
): Promise<{ readonly root: NewCa; readonly intermediate: NewCa }> {
  const id = Buffer.from(random(4)).toString('hex');
  const shared = { organization, now, random };
  const root = await createRoot({
    ...shared,
    commonName: `mayfly root ${id}`,
    curve: 'P-384',
    lifetimeDays: rootLifetimeDays,
  });
  const intermediate = await createIntermediate(root, {
    ...shared,
    commonName: `mayfly issuing CA ${id}`,
    curve: 'P-256',
    lifetimeDays: intermediateLifetimeDays,
  });
  return { root, intermediate };
}

function lifetime({ now, lifetimeDays }: NewCaOptions): { notBefore: Date; notAfter: Date } {
  const start = Math.floor(now / 1000) * 1000;
  return { notBefore: new Date(start), notAfter: new Date(start + lifetimeDays * dayMs) };
}

/** SubjectKeyIdentifier of `spki` and AuthorityKeyIdentifier of the issuer's. */
function keyIds(spki: Uint8Array, issuerSpki: Uint8Array): readonly Uint8Array[] {
  const keyId = encodeElement(tag.contextPrimitive(0), keyIdOf(issuerSpki));
  return [
    encodeExtension('2.5.29.14', !critical, encodeElement(tag.octetString, keyIdOf(spki))),
    encodeExtension('2.5.29.35', !critical, encodeSequence(keyId)),
  ];
}

interface CaFields {
  readonly random: (size: number) => Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly spki: Uint8Array;
  readonly extensions: readonly Uint8Array[];
}

async function certify(signer: Signer, fields: CaFields): Promise<Uint8Array> {
  const tbs = encodeSequence(
    encodeElement(tag.context(0), encodeElement(tag.integer, bytes(2))),
    encodeElement(tag.integer, newSerial(fields.random)),
    signer.signatureAlgorithm,
    fields.issuer,
    encodeSequence(encodeTime(fields.notBefore), encodeTime(fields.notAfter)),
    fields.subject,
    fields.spki,
    encodeElement(tag.context(3), encodeSequence(...fields.extensions)),
  );
  return encodeCertificate(tbs, signer.signatureAlgorithm, await signer.sign(tbs));
}
