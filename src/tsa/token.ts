import { hash } from 'node:crypto';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import type { Signer } from '../ca/signer.js';
import type { TimestampRequest } from './imprint.js';

/** Who signs the tokens. */
export interface TokenSigner {
  readonly signer: Signer;
  /** Of the signer's signatures, from `digestOf`. */
  readonly digest: TokenDigest;
  /** DER of the authority's certificate. */
  readonly certificate: Uint8Array;
  /** DER of what a token holds when the client asks for certificates: the authority's own first, no root. */
  readonly included: readonly Uint8Array[];
}

/** What the authority puts into one token. */
export interface TokenFields {
  /** Dotted OID. */
  readonly policy: string;
  /** Content octets of the serial number's INTEGER. */
  readonly serial: Uint8Array;
  /** Whole seconds. */
  readonly time: Date;
  readonly accuracySeconds: number;
}

/** A digest algorithm as node:crypto and as CMS name it. */
export interface TokenDigest {
  readonly name: 'sha256' | 'sha384' | 'sha512';
  readonly oid: string;
}

const sha256: TokenDigest = { name: 'sha256', oid: '2.16.840.1.101.3.4.2.1' };
const sha384: TokenDigest = { name: 'sha384', oid: '2.16.840.1.101.3.4.2.2' };
const sha512: TokenDigest = { name: 'sha512', oid: '2.16.840.1.101.3.4.2.3' };

/** By signature algorithm; Ed25519 is missing because OpenSSL's `ts` and the Sigstore clients do not verify it in CMS. */
const digests: Readonly<Record<string, TokenDigest>> = {
  '1.2.840.10045.4.3.2': sha256,
  '1.2.840.10045.4.3.3': sha384,
  '1.2.840.10045.4.3.4': sha512,
  '1.2.840.113549.1.1.11': sha256,
  '1.2.840.113549.1.1.12': sha384,
  '1.2.840.113549.1.1.13': sha512,
};

const oid = {
  signedData: '1.2.840.113549.1.7.2',
  tstInfo: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
} as const;

/** The digest that goes with a DER signature AlgorithmIdentifier; undefined for one that no client would verify. */
export function digestOf(signatureAlgorithm: Uint8Array): TokenDigest | undefined {
  const identifier = pkijs.AlgorithmIdentifier.fromBER(signatureAlgorithm);
  return digests[identifier.algorithmId];
}

/**
 * Signs a TimeStampToken for a request (RFC 3161 Section 2.4.2, with the ESSCertIDv2 of RFC 5816); its ContentInfo.
 * Throws what the signer throws.
 */
export async function createToken(
  request: TimestampRequest,
  fields: TokenFields,
  by: TokenSigner,
): Promise<pkijs.ContentInfo> {
  const certificate = pkijs.Certificate.fromBER(by.certificate);
  const info = encode(tstInfo(request, fields, certificate).toSchema());
  const attributes = signedAttributes(info, fields.time, by);
  // What is signed is the SET OF itself, not the [0] that stands for it in the message (RFC 5652 Section 5.4).
  const signature = await by.signer.sign(encode(new asn1js.Set({ value: attributes.map((one) => one.toSchema()) })));
  const digestAlgorithm = new pkijs.AlgorithmIdentifier({ algorithmId: by.digest.oid });
  const encapContentInfo = new pkijs.EncapsulatedContentInfo({ eContentType: oid.tstInfo });
  // Set afterwards: the constructor would cut it into a constructed string, which is no DER.
  encapContentInfo.eContent = new asn1js.OctetString({ valueHex: info });
  const signedData = new pkijs.SignedData({
    version: 3,
    digestAlgorithms: [digestAlgorithm],
    encapContentInfo,
    ...(request.certReq ? { certificates: by.included.map((der) => pkijs.Certificate.fromBER(der)) } : {}),
    signerInfos: [
      new pkijs.SignerInfo({
        version: 1,
        sid: new pkijs.IssuerAndSerialNumber({
          issuer: certificate.issuer,
          serialNumber: certificate.serialNumber,
        }),
        digestAlgorithm,
        signedAttrs: new pkijs.SignedAndUnsignedAttributes({ type: 0, attributes }),
        signatureAlgorithm: pkijs.AlgorithmIdentifier.fromBER(by.signer.signatureAlgorithm),
        signature: new asn1js.OctetString({ valueHex: signature }),
      }),
    ],
  });
  return new pkijs.ContentInfo({ contentType: oid.signedData, content: signedData.toSchema(true) });
}

function tstInfo(request: TimestampRequest, fields: TokenFields, certificate: pkijs.Certificate): pkijs.TSTInfo {
  return new pkijs.TSTInfo({
    version: 1,
    policy: fields.policy,
    messageImprint: new pkijs.MessageImprint({
      hashAlgorithm: new pkijs.AlgorithmIdentifier({
        algorithmId: request.hash.oid,
        ...(request.nullParameters ? { algorithmParams: new asn1js.Null() } : {}),
      }),
      hashedMessage: new asn1js.OctetString({ valueHex: request.digest }),
    }),
    serialNumber: new asn1js.Integer({ valueHex: fields.serial }),
    genTime: fields.time,
    accuracy: new pkijs.Accuracy({ seconds: fields.accuracySeconds }),
    // No `ordering`: FALSE is the default, which DER leaves out.
    ...(request.nonce === undefined ? {} : { nonce: new asn1js.Integer({ valueHex: request.nonce }) }),
    tsa: new pkijs.GeneralName({ type: 4, value: certificate.subject }),
  });
}

/** In the order of their encodings, as DER wants a SET OF. */
function signedAttributes(info: Uint8Array, time: Date, { certificate, digest }: TokenSigner): pkijs.Attribute[] {
  // ESSCertIDv2 leaves its default, SHA-256, out (RFC 5816 Section 2.2.1); which certificate it is, the sid says.
  const certHash = new asn1js.OctetString({ valueHex: hash('sha256', certificate, 'buffer') });
  const essCertId = new asn1js.Sequence({ value: [certHash] });
  const signingCertificate = new asn1js.Sequence({ value: [new asn1js.Sequence({ value: [essCertId] })] });
  return [
    attribute(oid.contentType, new asn1js.ObjectIdentifier({ value: oid.tstInfo })),
    attribute(oid.signingTime, cmsTime(time)),
    attribute(oid.messageDigest, new asn1js.OctetString({ valueHex: hash(digest.name, info, 'buffer') })),
    attribute(oid.signingCertificateV2, signingCertificate),
  ].sort((a, b) => Buffer.compare(encode(a.toSchema()), encode(b.toSchema())));
}

function attribute(type: string, value: asn1js.BaseBlock): pkijs.Attribute {
  return new pkijs.Attribute({ type, values: [value] });
}

/** RFC 5652 Section 11.3: UTCTime up to the year 2049. */
function cmsTime(time: Date): asn1js.UTCTime | asn1js.GeneralizedTime {
  return time.getUTCFullYear() < 2050
    ? new asn1js.UTCTime({ valueDate: time })
    : new asn1js.GeneralizedTime({ valueDate: time });
}

function encode(block: asn1js.BaseBlock): Uint8Array {
  return new Uint8Array(block.toBER());
}
