import { AppError } from '../errors.js';
import { certificateUse } from '../x509/certificate.js';
import { DerError } from '../x509/der.js';
import { nameAttributes } from '../x509/name.js';
import { decodePemAll, encodePem, PemError } from '../x509/pem.js';
import { assertProfile } from './ceremony.js';
import { signBelow, validity } from './create.js';
import type { CaRequest } from './csr.js';
import { extensionOid, purposeOid } from './profile.js';
import { type ProfileLink, readLink } from './profile-link.js';
import { describePurposes } from './profile-rules.js';
import { isSameKey } from './same-key.js';
import type { Signer } from './signer.js';

/** What a parent is asked to sign, and how. */
export interface SigningOrder {
  readonly request: CaRequest;
  /** PEM: the certificate of the parent first, root last. */
  readonly parentChain: string;
  readonly role: 'issuing' | 'timestamping';
  /** CA certificates allowed below the new one. */
  readonly pathLength: number;
  /** Days of 24 hours; undefined: five years, or what is left of the parent if that is less. */
  readonly lifetimeDays: number | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** A certificate that may be signed, for people to look at first. */
export interface SigningPlan extends SigningOrder {
  readonly parent: ProfileLink;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const defaultDays = 1825;

/** Checks an order as far as that is possible without the parent's key; throws AppError STARTUP with what is wrong. */
export function planSigning(order: SigningOrder): SigningPlan {
  const { request, role, pathLength, now } = order;
  const links = readParents(order.parentChain);
  const [parent] = links;
  if (parent === undefined) throw wrong('the parent has no certificate: found no PEM block "CERTIFICATE"');
  checkRequest(request, role, links);
  for (const { use, index, title } of links) {
    const limit = use.basicConstraints?.pathLength;
    const below = index + (role === 'issuing' ? 1 + pathLength : 0);
    if (limit !== undefined && limit < below) {
      throw wrong(
        `${title} allows ${limit} CA certificates below it (pathlen), and with this one there could be ${below}`,
      );
    }
  }
  const { notBefore, notAfter: last } = parent.certificate;
  if (now > last.getTime()) throw wrong(`${parent.title} has expired at ${last.toISOString()}`);
  if (now < notBefore.getTime()) throw wrong(`${parent.title} is not valid before ${notBefore.toISOString()}`);
  const wanted = validity(now, order.lifetimeDays ?? defaultDays);
  if (order.lifetimeDays !== undefined && wanted.notAfter > last) {
    throw wrong(
      `a lifetime of ${order.lifetimeDays} days ends at ${wanted.notAfter.toISOString()}, after ${parent.title} (${last.toISOString()})`,
    );
  }
  return { ...order, parent, notBefore: wanted.notBefore, notAfter: wanted.notAfter < last ? wanted.notAfter : last };
}

function readParents(pem: string): readonly ProfileLink[] {
  try {
    const certificates = decodePemAll(pem, 'CERTIFICATE');
    return certificates.map((der, index) => readLink(der, index, certificates.length));
  } catch (cause) {
    if (!(cause instanceof PemError || cause instanceof DerError)) throw cause;
    throw wrong(`the parent's chain cannot be read: ${cause.message}`, cause);
  }
}

function checkRequest(
  { subject, publicKey, extensions }: CaRequest,
  role: string,
  parents: readonly ProfileLink[],
): void {
  const names = parsed('the request asks for a subject that is no name', () => nameAttributes(subject));
  if (names.length === 0) throw wrong('the request has an empty subject; expected an organization and a common name');
  const same = parents.find((parent) => isSameKey(parent.publicKey, publicKey));
  if (same !== undefined) throw wrong(`the request is for the key of ${same.title}; expected another key`);
  const namesake = parents.find(({ certificate }) => Buffer.compare(certificate.subject, subject) === 0);
  if (namesake !== undefined) throw wrong(`the request asks for the name of ${namesake.title}; expected another name`);
  const asked = extensions.filter(({ oid }) => oid === extensionOid.extendedKeyUsage);
  const what = 'the request asks for a malformed extended key usage';
  const purposes = parsed(what, () => certificateUse({ extensions: asked }).extendedKeyUsage);
  const wanted = role === 'issuing' ? purposeOid.codeSigning : purposeOid.timeStamping;
  if (purposes !== undefined && !purposes.includes(wanted)) {
    const other = role === 'issuing' ? 'timestamping' : 'issuing';
    throw wrong(
      `the request asks for the extended key usage ${describePurposes(purposes)}; for that, give --for ${other}`,
    );
  }
}

function parsed<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof DerError)) throw cause;
    throw wrong(`${what}: ${cause.message}`, cause);
  }
}

/**
 * Has the parent's key sign what was planned and gives the whole chain, PEM. Throws AppError STARTUP when the key is not the
 * parent's, or when the chain would break the profile.
 */
export async function signPlanned(
  plan: SigningPlan,
  signer: Signer,
  random: (size: number) => Uint8Array,
): Promise<string> {
  const { parent, request, role, pathLength, notBefore, notAfter } = plan;
  if (!isSameKey(signer.publicKey, parent.publicKey))
    throw wrong(`the key of the parent is not that of ${parent.title}`);
  const { subject, spki } = request;
  const issuer = { signer, certificate: parent.certificate.der };
  const certificate = await signBelow(issuer, { role, pathLength, subject, spki, notBefore, notAfter, random });
  const parents = decodePemAll(plan.parentChain, 'CERTIFICATE').map((der) => encodePem('CERTIFICATE', der));
  const chain = encodePem('CERTIFICATE', certificate) + parents.join('');
  assertProfile(chain, plan.now);
  return chain;
}

function wrong(detail: string, cause?: unknown): AppError {
  return new AppError('STARTUP', detail, { cause });
}
