import type { KeyObject } from 'node:crypto';
import { messageOf } from '../errors.js';
import { DerError } from '../x509/der.js';
import { decodePemAll, PemError, pemLabels } from '../x509/pem.js';
import { purposeOid } from './profile.js';
import { isSignedBy, names, type Position, type ProfileLink, readLink } from './profile-link.js';
import { type ChainPurpose, type RuleContext, rulesFor } from './profile-rules.js';
import { isSameKey } from './same-key.js';

/** One thing that is wrong with a chain: an error when clients or servers refuse it or it breaks the profile. */
export interface Finding {
  readonly level: 'error' | 'warning';
  /** Stable, for scripts: "path-length", "order" … */
  readonly rule: string;
  /** Which certificate, from 1, the issuing CA; absent where the chain as a whole is meant. */
  readonly certificate?: number;
  /** One line that names the certificate, what was found and what was expected. */
  readonly message: string;
}

export interface ProfileOptions {
  /** What the chain is for; without, a timestamp authority is told by its first certificate. */
  readonly purpose?: ChainPurpose | undefined;
  /** Public half of the key that the first certificate should be for. */
  readonly publicKey?: KeyObject | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Everything that is wrong with a PEM chain, issuing CA or timestamp authority first and root last: what the profile says
 * and what the verifiers of Fulcio, cosign and the other clients demand. Never throws for a malformed chain.
 */
export function checkProfile(pem: string | Uint8Array, options: ProfileOptions): readonly Finding[] {
  const { links, findings } = readLinks(pem);
  const [first] = links;
  if (first === undefined || findings.length > 0) return findings;
  const purpose = options.purpose ?? purposeOf(first);
  return [
    ...strayFindings(pem),
    ...keyFindings(links, options.publicKey),
    ...links.flatMap((link) => {
      const context = { position: positionOf(link, links, purpose), purpose, now: options.now };
      return [
        ...ruleFindings(link, context),
        ...orderFindings(link, links),
        ...issuerFindings(link, links[link.index + 1]),
      ];
    }),
    ...duplicateFindings(links),
  ];
}

/** Whether a chain that begins with this certificate is a timestamp authority's. */
function purposeOf({ use }: ProfileLink): ChainPurpose {
  const isTimestamping = use.extendedKeyUsage?.includes(purposeOid.timeStamping) ?? false;
  return isTimestamping && use.basicConstraints?.ca !== true ? 'timeStamping' : 'codeSigning';
}

function readLinks(pem: string | Uint8Array): {
  readonly links: readonly ProfileLink[];
  readonly findings: readonly Finding[];
} {
  const certificates = readPem(pem);
  if (typeof certificates === 'string') return { links: [], findings: [wrong('malformed', certificates)] };
  const links: ProfileLink[] = [];
  const findings: Finding[] = [];
  certificates.forEach((der, index) => {
    try {
      links.push(readLink(der, index, certificates.length));
    } catch (cause) {
      const why = cause instanceof DerError ? cause.message : `its public key cannot be read: ${messageOf(cause)}`;
      const message = `certificate ${index + 1} of ${certificates.length} is malformed: ${why}`;
      findings.push({ ...wrong('malformed', message), certificate: index + 1 });
    }
  });
  return { links, findings };
}

function readPem(pem: string | Uint8Array): readonly Uint8Array[] | string {
  try {
    const certificates = decodePemAll(pem, 'CERTIFICATE');
    return certificates.length > 0 ? certificates : 'found no PEM block "CERTIFICATE"; expected the chain, root last';
  } catch (cause) {
    if (cause instanceof PemError) return `the chain cannot be read: ${cause.message}`;
    throw cause;
  }
}

/** What lies among the certificates and is passed over by whoever reads the chain. */
function strayFindings(pem: string | Uint8Array): readonly Finding[] {
  const labels = new Set(pemLabels(pem).filter((label) => label !== 'CERTIFICATE'));
  return [...labels].map((label) => {
    if (label.endsWith('PRIVATE KEY')) {
      const message = `the file holds a private key ("${label}"), and a chain is for everybody; expected the key in a file of its own`;
      return { level: 'warning', rule: 'stray-block', message };
    }
    // Certificates in a form that nobody reads here: the chain is not what it looks like.
    const isMissing = label.endsWith('CERTIFICATE') || label.endsWith('PKCS7');
    const message = `the PEM block "${label}" is passed over; expected "CERTIFICATE"`;
    return { level: isMissing ? 'error' : 'warning', rule: 'stray-block', message };
  });
}

/** A chain of one certificate is a root that issues by itself. */
function positionOf(link: ProfileLink, links: readonly ProfileLink[], purpose: ChainPurpose): Position {
  if (link.index === 0 && purpose === 'timeStamping') return 'timestamping';
  if (link.isSelfIssued) return 'root';
  return link.index === 0 ? 'issuing' : links.length - 1 === link.index ? 'root' : 'between';
}

function ruleFindings(link: ProfileLink, context: RuleContext): readonly Finding[] {
  return rulesFor(context.position).flatMap(({ name, level, check }) => {
    const problem = check(link, context);
    return problem === undefined ? [] : [about(link, name, problem, level)];
  });
}

function keyFindings(links: readonly ProfileLink[], publicKey: KeyObject | undefined): readonly Finding[] {
  if (publicKey === undefined) return [];
  const owner = links.find((link) => isSameKey(link.publicKey, publicKey));
  if (owner?.index === 0) return [];
  const message =
    owner === undefined
      ? `the key belongs to no certificate of the chain; expected the key of ${links[0]?.title}`
      : `the key belongs to ${owner.title}; expected the key of ${links[0]?.title}, which comes first`;
  return [wrong('key-mismatch', message)];
}

/** Whether the certificate after it is its issuer, and the last one a root. */
function orderFindings(link: ProfileLink, links: readonly ProfileLink[]): readonly Finding[] {
  const next = links[link.index + 1];
  if (next === undefined) {
    if (link.isSelfIssued) {
      return isSignedBy(link, link)
        ? []
        : [about(link, 'signature', 'is no root: its signature does not verify with its own key')];
    }
    return [
      about(link, 'root-missing', 'is the last one and no root; expected the chain to end with a self-signed root'),
    ];
  }
  if (link.isSelfIssued)
    return [about(link, 'order', `is a root; expected it to come last, and ${next.title} follows`)];
  if (names(link, next)) {
    return isSignedBy(link, next)
      ? []
      : [about(link, 'signature', `has a signature that does not verify with the key of ${next.title}`)];
  }
  const issuer = links.find((other) => names(link, other));
  const expected = issuer === undefined ? 'its issuer is not in the chain' : `its issuer is ${issuer.title}`;
  return [about(link, 'order', `was not issued by ${next.title}, which follows: ${expected}`)];
}

/** What must agree between a certificate and its issuer's. */
function issuerFindings(link: ProfileLink, next: ProfileLink | undefined): readonly Finding[] {
  const issuer = next ?? link;
  if (!names(link, issuer)) return [];
  const findings: Finding[] = [];
  const { authorityKeyId } = link.use;
  const { subjectKeyId } = issuer.use;
  if (
    authorityKeyId !== undefined &&
    subjectKeyId !== undefined &&
    Buffer.compare(authorityKeyId, subjectKeyId) !== 0
  ) {
    const found = `names the key ${hex(authorityKeyId)} as its issuer's (authority key identifier)`;
    findings.push(about(link, 'authority-key-id', `${found}; expected ${hex(subjectKeyId)}, that of ${issuer.title}`));
  }
  const { notBefore, notAfter } = link.certificate;
  if (notBefore < issuer.certificate.notBefore || notAfter > issuer.certificate.notAfter) {
    const period = `${issuer.certificate.notBefore.toISOString()} to ${issuer.certificate.notAfter.toISOString()}`;
    findings.push(
      about(link, 'validity-order', `is valid at times when ${issuer.title} is not; expected it within ${period}`),
    );
  }
  return findings;
}

/** One name or one key twice makes loops, out of which verifiers come in different ways. */
function duplicateFindings(links: readonly ProfileLink[]): readonly Finding[] {
  return links.flatMap((link) => {
    const earlier = links.slice(0, link.index);
    const sameKey = earlier.find((other) => isSameKey(other.publicKey, link.publicKey));
    if (sameKey !== undefined)
      return [about(link, 'duplicate', `has the same key as ${sameKey.title}; expected another`)];
    const sameName = earlier.find((other) => Buffer.compare(other.certificate.subject, link.certificate.subject) === 0);
    return sameName === undefined
      ? []
      : [about(link, 'duplicate', `has the same subject as ${sameName.title}; expected another`)];
  });
}

function wrong(rule: string, message: string): Finding {
  return { level: 'error', rule, message };
}

function about(
  { index, title }: ProfileLink,
  rule: string,
  problem: string,
  level: Finding['level'] = 'error',
): Finding {
  return { level, rule, certificate: index + 1, message: `${title} ${problem}` };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
