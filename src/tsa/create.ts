import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { createRoot, rootLifetimeDays } from '../ca/create.js';
import { createKeySigner } from '../ca/file-signer.js';
import { parseCertificate } from '../x509/certificate.js';
import { encodeElement, encodeOid, encodeSequence, encodeTime, tag } from '../x509/der.js';
import { encodeName } from '../x509/name.js';
import { keyIdOf } from '../x509/spki.js';
import { encodeCertificate, encodeExtension, newSerial } from '../x509/tbs.js';

/** Key and chain of a new timestamp authority. */
export interface NewTsa {
  readonly privateKey: KeyObject;
  /** DER, the authority's own first, root last. */
  readonly chain: readonly Uint8Array[];
}

export interface NewTsaOptions {
  readonly organization: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Unpredictable bytes for names and serial numbers. */
  readonly random: (size: number) => Uint8Array;
}

const generate = promisify(generateKeyPair);
const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
const critical = true;

/**
 * Makes a timestamp authority: a P-256 key and its certificate, under a P-384 root that signs this one certificate and
 * whose key is then forgotten, so that nothing else can ever appear under it. Both certificates last ten years.
 */
export async function createTsa({ organization, now, random }: NewTsaOptions): Promise<NewTsa> {
  const id = Buffer.from(random(4)).toString('hex');
  const root = await createRoot({
    organization,
    commonName: `mayfly timestamp root ${id}`,
    curve: 'P-384',
    now,
    lifetimeDays: rootLifetimeDays,
    random,
  });
  const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' });
  const { subject, notBefore, notAfter, spki: rootSpki } = parseCertificate(root.certificate);
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const signer = createKeySigner(root.privateKey);
  const tbs = encodeSequence(
    encodeElement(tag.context(0), encodeElement(tag.integer, bytes(2))),
    encodeElement(tag.integer, newSerial(random)),
    signer.signatureAlgorithm,
    subject,
    encodeSequence(encodeTime(notBefore), encodeTime(notAfter)),
    encodeName({ organization, commonName: `mayfly timestamp authority ${id}` }),
    spki,
    encodeElement(tag.context(3), encodeSequence(...extensions(spki, rootSpki))),
  );
  const certificate = encodeCertificate(tbs, signer.signatureAlgorithm, await signer.sign(tbs));
  return { privateKey, chain: [certificate, root.certificate] };
}

/** keyUsage digitalSignature, extendedKeyUsage timeStamping (critical, RFC 3161 Section 2.3), the two key identifiers. */
function extensions(spki: Uint8Array, issuerSpki: Uint8Array): readonly Uint8Array[] {
  const issuerKeyId = encodeElement(tag.contextPrimitive(0), keyIdOf(issuerSpki));
  return [
    encodeExtension('2.5.29.15', critical, bytes(0x03, 0x02, 0x07, 0x80)),
    encodeExtension('2.5.29.37', critical, encodeSequence(encodeOid('1.3.6.1.5.5.7.3.8'))),
    encodeExtension('2.5.29.14', !critical, encodeElement(tag.octetString, keyIdOf(spki))),
    encodeExtension('2.5.29.35', !critical, encodeSequence(issuerKeyId)),
  ];
}
