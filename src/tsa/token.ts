import { hash } from 'node:crypto';
import type { Signer } from '../ca/signer.js';
import { AppError } from '../errors.js';
import { parseCertificate } from '../x509/certificate.js';
import { children, encodeElement, encodeOid, encodeSequence, encodeTime, readDer, readOid, tag } from '../x509/der.js';
import type { TimestampRequest } from './imprint.js';

// Tokens are encoded by hand: pkijs took 1.5 ms of the event loop for one, which is many certificates' worth; this takes
// a twentieth of that beside the signature. The tests read the tokens with pkijs and openssl.

/** What the authority puts into one token. */
export interface TokenFields {
  /** Dotted OID. */
  readonly policy: string;
  /** Content octets of the serial number's INTEGER. */
  readonly serial: Uint8Array;
  /** Whole seconds. */
  readonly time: Date;
  /** 1 to 127. */
  readonly accuracySeconds: number;
}

/**
 * Signs a TimeStampToken (RFC 3161 Section 2.4.2, with the ESSCertIDv2 of RFC 5816) and resolves with its DER
 * ContentInfo. Throws what the signer throws.
 */
export type TokenMaker = (request: TimestampRequest, fields: TokenFields) => Promise<Uint8Array>;

export interface TokenMakerOptions {
  readonly signer: Signer;
  /** DER of the authority's certificate. */
  readonly certificate: Uint8Array;
  /** DER of what a token holds when the client asks for certificates: the authority's own first, no root. */
  readonly included: readonly Uint8Array[];
}

type Digest = 'sha256' | 'sha384' | 'sha512';

/** By signature algorithm; Ed25519 is missing because OpenSSL's `ts` and the Sigstore clients do not verify it in CMS. */
const digests: Readonly<Record<string, Digest>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
};

const digestOids: Readonly<Record<Digest, string>> = {
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
};

const signedDataOid = encodeOid('1.2.840.113549.1.7.2');
const tstInfoOid = encodeOid('1.2.840.113549.1.9.16.1.4');
const derNull = encodeElement(tag.null);
const octets = (bytes: Uint8Array): Uint8Array => encodeElement(tag.octetString, bytes);
const smallInteger = (value: number): Uint8Array => encodeElement(tag.integer, Uint8Array.of(value));
/** Attribute (RFC 5652 Section 5.3) with one value. */
const attribute = (oid: string, value: Uint8Array): Uint8Array =>
  encodeSequence(encodeOid(oid), encodeElement(tag.set, value));

/** Prepares what all tokens share; throws AppError STARTUP for a kind of key that clients would not verify. */
export function tokenMaker({ signer, certificate, included }: TokenMakerOptions): TokenMaker {
  const digest = digests[readOid(children(readDer(signer.signatureAlgorithm))[0], 'the signature algorithm')];
  if (digest === undefined) {
    const found = signer.publicKey.asymmetricKeyType;
    throw new AppError('STARTUP', `the timestamp authority's key is of the kind ${found}; expected EC or RSA`);
  }
  const { subject, issuer, serial } = parseCertificate(certificate);
  const digestAlgorithm = encodeSequence(encodeOid(digestOids[digest]));
  const tsaName = encodeElement(tag.context(0), encodeElement(tag.context(4), subject));
  const signerId = encodeSequence(issuer, encodeElement(tag.integer, positive(serial)));
  const certificates = encodeElement(tag.context(0), ...included);
  const sameAttributes = [
    attribute('1.2.840.113549.1.9.3', tstInfoOid),
    attribute('1.2.840.113549.1.9.16.2.47', signingCertificateV2(certificate)),
  ];
  return async (request, fields) => {
    const info = tstInfo(request, fields, tsaName);
    const attributes = [
      ...sameAttributes,
      attribute('1.2.840.113549.1.9.5', encodeTime(fields.time)),
      attribute('1.2.840.113549.1.9.4', octets(hash(digest, info, 'buffer'))),
      // DER sorts a SET OF by encoding.
    ].sort(Buffer.compare);
    // What is signed is the SET OF itself, not the [0] that stands for it in the message (RFC 5652 Section 5.4).
    const signature = await signer.sign(encodeElement(tag.set, ...attributes));
    const signerInfo = encodeSequence(
      smallInteger(1),
      signerId,
      digestAlgorithm,
      encodeElement(tag.context(0), ...attributes),
      signer.signatureAlgorithm,
      octets(signature),
    );
    const signedData = encodeSequence(
      smallInteger(3),
      encodeElement(tag.set, digestAlgorithm),
      encodeSequence(tstInfoOid, encodeElement(tag.context(0), octets(info))),
      ...(request.certReq ? [certificates] : []),
      encodeElement(tag.set, signerInfo),
    );
    return encodeSequence(signedDataOid, encodeElement(tag.context(0), signedData));
  };
}

/** TSTInfo; `ordering` is left out, since FALSE is its default. */
function tstInfo(request: TimestampRequest, fields: TokenFields, tsaName: Uint8Array): Uint8Array {
  const { hash: imprint, nullParameters, digest, nonce } = request;
  const algorithm = encodeSequence(encodeOid(imprint.oid), ...(nullParameters ? [derNull] : []));
  return encodeSequence(
    smallInteger(1),
    encodeOid(fields.policy),
    encodeSequence(algorithm, octets(digest)),
    encodeElement(tag.integer, fields.serial),
    encodeElement(tag.generalizedTime, Buffer.from(`${fields.time.toISOString().replace(/\..*|[-:T]/g, '')}Z`)),
    encodeSequence(smallInteger(fields.accuracySeconds)),
    ...(nonce === undefined ? [] : [encodeElement(tag.integer, nonce)]),
    tsaName,
  );
}

/** One ESSCertIDv2 without its default, SHA-256, and without the issuer, which the signer's id names already. */
function signingCertificateV2(certificate: Uint8Array): Uint8Array {
  const certHash = octets(hash('sha256', certificate, 'buffer'));
  return encodeSequence(encodeSequence(encodeSequence(certHash)));
}

/** Content octets of the INTEGER with this magnitude. */
function positive(magnitude: Uint8Array): Uint8Array {
  return (magnitude[0] ?? 0) < 0x80 ? magnitude : Buffer.concat([Uint8Array.of(0), magnitude]);
}
