import { AppError } from '../errors.js';
import { type Certificate, type Extension, parseCertificate } from './certificate.js';
import { DerError } from './der.js';

const poisonOid = '1.3.6.1.4.1.11129.2.4.3';
const sctListOid = '1.3.6.1.4.1.11129.2.4.2';

/**
 * Proves, from the bytes alone, that a certificate is the one its precertificate promised: equal apart from the poison,
 * the SCT list and the signature (RFC 6962 Section 3.1). An SCT over anything else would be worth nothing.
 *
 * Both are DER. Throws AppError INTERNAL naming the part that differs.
 */
export function corresponds(precertificate: Uint8Array, certificate: Uint8Array): void {
  const pre = parse(precertificate, 'precertificate');
  const final = parse(certificate, 'certificate');
  for (const [part, name] of comparedParts) {
    if (!equal(pre[part], final[part])) throw differing(name);
  }
  for (const time of ['notBefore', 'notAfter'] as const) {
    if (pre[time].getTime() !== final[time].getTime()) throw differing(time);
  }
  const promised = withoutOne(pre.extensions, poisonOid, true, 'poison in the precertificate');
  const given = withoutOne(final.extensions, sctListOid, false, 'SCT list in the certificate');
  if (promised.length !== given.length) throw differing('number of extensions');
  promised.forEach((extension, index) => {
    const other = given[index];
    if (other === undefined || !equal(extension.encoding, other.encoding)) {
      throw differing(`extension ${extension.oid}`);
    }
  });
}

const comparedParts = [
  ['serial', 'serial number'],
  ['signatureAlgorithm', 'signature algorithm'],
  ['issuer', 'issuer'],
  ['subject', 'subject'],
  ['spki', 'public key'],
] as const satisfies readonly (readonly [keyof Certificate, string])[];

function parse(der: Uint8Array, what: string): Certificate {
  try {
    return parseCertificate(der);
  } catch (cause) {
    if (!(cause instanceof DerError)) throw cause;
    throw new AppError('INTERNAL', `the ${what} that was built cannot be read back: ${cause.message}`, { cause });
  }
}

/** The extensions but the one last in line, which must be `oid`; neither special extension may stand elsewhere. */
function withoutOne(
  extensions: readonly Extension[],
  oid: string,
  critical: boolean,
  what: string,
): readonly Extension[] {
  const last = extensions.at(-1);
  if (last?.oid !== oid || last.critical !== critical) {
    throw new AppError('INTERNAL', `expected the ${what} as its last extension`);
  }
  const rest = extensions.slice(0, -1);
  if (rest.some((extension) => extension.oid === poisonOid || extension.oid === sctListOid)) {
    throw new AppError('INTERNAL', `found a second special extension beside the ${what}`);
  }
  return rest;
}

function differing(part: string): AppError {
  return new AppError('INTERNAL', `the certificate that was built differs from its precertificate in its ${part}`);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
