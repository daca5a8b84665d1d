import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { certificateUse, parseCertificate } from '../x509/certificate.js';
import { encodeElement, encodeSequence, encodeTime, tag } from '../x509/der.js';
import { encodeName } from '../x509/name.js';
import { keyIdOf } from '../x509/spki.js';
import { encodeCertificate, encodeExtension, newSerial } from '../x509/tbs.js';
import { createKeySigner } from './file-signer.js';
import { type CaRole, extensionOid, profileExtensions } from './profile.js';
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

/** A self-signed root: CA:TRUE, keyCertSign and cRLSign, no extended key usage (COMPAT's CA profile). */
export async function createRoot(options: NewCaOptions): Promise<NewCa> {
  const { privateKey } = await generate('ec', { namedCurve: options.curve });
  const certificate = await signRoot(createKeySigner(privateKey), {
    subject: encodeName(options),
    ...validity(options.now, options.lifetimeDays),
    random: options.random,
  });
  return { certificate, privateKey };
}

/**
 * An issuing CA below `parent`: as the root, and extended key usage codeSigning and pathlen 0. Its validity ends no later
 * than its parent's.
 */
export async function createIntermediate(parent: NewCa, options: NewCaOptions): Promise<NewCa> {
  const { privateKey, publicKey } = await generate('ec', { namedCurve: options.curve });
  const issuer = { signer: createKeySigner(parent.privateKey), certificate: parent.certificate };
  const certificate = await signBelow(issuer, {
    role: 'issuing',
    subject: encodeName(options),
    spki: publicKey.export({ type: 'spki', format: 'der' }),
    ...validity(options.now, options.lifetimeDays),
    random: options.random,
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

/** From the second of `now` (milliseconds since the epoch) on, for so many days of 24 hours. */
export function validity(now: number, lifetimeDays: number): { readonly notBefore: Date; readonly notAfter: Date } {
  const start = Math.floor(now / 1000) * 1000;
  return { notBefore: new Date(start), notAfter: new Date(start + lifetimeDays * dayMs) };
}

/** What a new certificate says beside its profile. */
export interface CertificateFields {
  /** DER Name. */
  readonly subject: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Unpredictable bytes for the serial number. */
  readonly random: (size: number) => Uint8Array;
}

/** Who signs: the CA certificate, DER, and its key. */
export interface Issuer {
  readonly certificate: Uint8Array;
  readonly signer: Signer;
}

/** Signs the certificate of a root with its own key, wherever that lives; DER. */
export function signRoot(signer: Signer, fields: CertificateFields): Promise<Uint8Array> {
  const spki = signer.publicKey.export({ type: 'spki', format: 'der' });
  const keyId = keyIdOf(spki);
  return certify(signer, {
    ...fields,
    issuer: fields.subject,
    spki,
    extensions: [...profileExtensions('root'), ...keyIds(keyId, keyId)],
  });
}

/**
 * Signs a certificate of `role` for the key in `spki`, DER. Its validity is cut to the issuer's. That the issuer may
 * sign it, and that its key and certificate belong together, is for the caller to know.
 */
export function signBelow(
  { certificate, signer }: Issuer,
  fields: CertificateFields & {
    readonly role: Exclude<CaRole, 'root'>;
    /** DER SubjectPublicKeyInfo. */
    readonly spki: Uint8Array;
    /** CA certificates allowed below an issuing CA: 0 unless told. */
    readonly pathLength?: number;
  },
): Promise<Uint8Array> {
  const issuer = parseCertificate(certificate);
  const { role, pathLength, spki, notBefore, notAfter } = fields;
  return certify(signer, {
    ...fields,
    notBefore: notBefore > issuer.notBefore ? notBefore : issuer.notBefore,
    notAfter: notAfter < issuer.notAfter ? notAfter : issuer.notAfter,
    issuer: issuer.subject,
    extensions: [
      ...profileExtensions(role, pathLength),
      // Verifiers compare it with what the issuer calls itself, which need not be the hash of its key.
      ...keyIds(keyIdOf(spki), certificateUse(issuer).subjectKeyId ?? keyIdOf(issuer.spki)),
    ],
  });
}

/** SubjectKeyIdentifier and AuthorityKeyIdentifier. */
function keyIds(own: Uint8Array, issuers: Uint8Array): readonly Uint8Array[] {
  const keyId = encodeElement(tag.contextPrimitive(0), issuers);
  return [
    encodeExtension(extensionOid.subjectKeyId, false, encodeElement(tag.octetString, own)),
    encodeExtension(extensionOid.authorityKeyId, false, encodeSequence(keyId)),
  ];
}

interface SignedFields extends CertificateFields {
  readonly issuer: Uint8Array;
  readonly spki: Uint8Array;
  readonly extensions: readonly Uint8Array[];
}

async function certify(signer: Signer, fields: SignedFields): Promise<Uint8Array> {
  const tbs = encodeSequence(
    encodeElement(tag.context(0), encodeElement(tag.integer, Uint8Array.of(2))),
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
