import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';

/**
 * A root, an issuing CA and leaves, written as plain DER so that the tests do not depend on the code of the CA.
 */

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const size = content.length;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const ecdsaWithSha256 = hex('300a06082a8648ce3d040302');
const validity = sequence(der(0x17, Buffer.from('240101000000Z')), der(0x18, Buffer.from('20990101000000Z')));
const commonName = (name: string): Buffer =>
  sequence(der(0x31, sequence(hex('0603550403'), der(0x0c, Buffer.from(name)))));
const basicConstraints = hex('300f0603551d130101ff040530030101ff');
const extensionKeyUsage = hex('300e0603551d0f0101ff040403020780');
export const poison = hex('3013060a2b06010401d6790204030101ff04020500');

interface Party {
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export function party(name: string): Party {
  return { name, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
}

/** A TBSCertificate with these extensions, each whole. */
export function tbsOf(subject: Party, issuer: Party, extensions: readonly Uint8Array[]): Buffer {
  return sequence(
    hex('a003020102'),
    der(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)])),
    ecdsaWithSha256,
    commonName(issuer.name),
    validity,
    commonName(subject.name),
    subject.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  );
}

export function signedBy(issuer: Party, tbs: Uint8Array): Buffer {
  return sequence(tbs, ecdsaWithSha256, der(0x03, Buffer.of(0), sign('sha256', tbs, issuer.privateKey)));
}

export const root = party('test root');
export const issuing = party('test issuing CA');
export const rootDer = signedBy(root, tbsOf(root, root, [basicConstraints]));
export const issuingDer = signedBy(root, tbsOf(issuing, root, [basicConstraints]));
/** Extended key usage of a Precertificate Signing Certificate (RFC 6962 Section 3.1). */
const precertificateSigning = hex('30150603551d25040e300c060a2b06010401d679020404');
export const precertSigner = party('test precertificate signer');
export const precertSignerDer = signedBy(
  issuing,
  tbsOf(precertSigner, issuing, [basicConstraints, precertificateSigning]),
);
/** Issuing CA first, root last. */
export const chain: readonly Uint8Array[] = [issuingDer, rootDer];
export const issuerKeyHash = createHash('sha256')
  .update(new X509Certificate(issuingDer).publicKey.export({ type: 'spki', format: 'der' }))
  .digest();

/** A precertificate and its TBSCertificate without the poison. */
export function newPrecertificate(issuer: Party = issuing): { precertificate: Buffer; tbs: Buffer } {
  const leaf = party('leaf');
  const tbs = tbsOf(leaf, issuer, [extensionKeyUsage]);
  const poisoned = sequence(tbsFields(tbs), der(0xa3, sequence(extensionKeyUsage, poison)));
  return { precertificate: signedBy(issuer, poisoned), tbs };
}

/** A final certificate without poison. */
export function newCertificate(issuer: Party = issuing): Buffer {
  return signedBy(issuer, tbsOf(party('leaf'), issuer, [extensionKeyUsage]));
}

/** The fields of a TBSCertificate made by `tbsOf` before its extensions. */
function tbsFields(tbs: Buffer): Buffer {
  const headerSize = (tbs[1] ?? 0) < 0x80 ? 2 : (tbs[1] ?? 0) - 0x80 + 2;
  const extensions = der(0xa3, sequence(extensionKeyUsage));
  return tbs.subarray(headerSize, tbs.length - extensions.length);
}
