import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { encodeElement, encodeOid, encodeSequence, encodeTime, tag } from '../../src/x509/der.js';
import { encodeName } from '../../src/x509/name.js';
import { encodePem } from '../../src/x509/pem.js';
import { encodeCertificate, encodeExtension } from '../../src/x509/tbs.js';

export const now = Date.parse('2026-06-01T12:00:00Z');

export const oid = {
  codeSigning: '1.3.6.1.5.5.7.3.3',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  ecdsaSha256: '1.2.840.10045.4.3.2',
  ecdsaSha1: '1.2.840.10045.4.1',
};

/** A certificate to be, with every part that a chain check looks at open to change. */
export interface Draft {
  readonly name: string;
  readonly issuer: string;
  readonly key: KeyObject;
  readonly signedBy: KeyObject;
  readonly ca?: boolean;
  readonly pathLength?: number;
  /** The first octet of keyUsage: keyCertSign is 0x04. */
  readonly keyUsage?: number;
  readonly usages?: readonly string[];
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly hash?: string;
  readonly signatureOid?: string;
}

export const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

const spkiOf = (key: KeyObject): Uint8Array => {
  const jwk = key.export({ format: 'jwk' });
  const point = Buffer.concat([Uint8Array.of(0, 4), ...[jwk.x, jwk.y].map((c) => Buffer.from(c ?? '', 'base64url'))]);
  const algorithm = encodeSequence(encodeOid('1.2.840.10045.2.1'), encodeOid('1.2.840.10045.3.1.7'));
  return encodeSequence(algorithm, encodeElement(tag.bitString, point));
};

const nameOf = (commonName: string): Uint8Array => encodeName({ organization: 'lab', commonName });

/** PEM of the certificate a draft describes. */
export function certify(draft: Draft): string {
  const { ca = true, keyUsage = 0x06, usages, pathLength } = draft;
  const isCa = ca ? [Uint8Array.of(1, 1, 0xff)] : [];
  const length = pathLength === undefined ? [] : [Uint8Array.of(2, 1, pathLength)];
  const extensions = [
    encodeExtension('2.5.29.19', true, encodeSequence(...isCa, ...length)),
    encodeExtension('2.5.29.15', true, Uint8Array.of(3, 2, 1, keyUsage)),
    ...(usages === undefined ? [] : [encodeExtension('2.5.29.37', false, encodeSequence(...usages.map(encodeOid)))]),
  ];
  const algorithm = encodeSequence(encodeOid(draft.signatureOid ?? oid.ecdsaSha256));
  const tbs = encodeSequence(
    Uint8Array.of(0xa0, 3, 2, 1, 2),
    Uint8Array.of(2, 1, 7),
    algorithm,
    nameOf(draft.issuer),
    encodeSequence(
      encodeTime(new Date(draft.notBefore ?? '2026-01-01T00:00:00Z')),
      encodeTime(new Date(draft.notAfter ?? '2030-01-01T00:00:00Z')),
    ),
    nameOf(draft.name),
    spkiOf(draft.key),
    encodeElement(tag.context(3), encodeSequence(...extensions)),
  );
  return encodePem('CERTIFICATE', encodeCertificate(tbs, algorithm, sign(draft.hash ?? 'sha256', tbs, draft.signedBy)));
}
