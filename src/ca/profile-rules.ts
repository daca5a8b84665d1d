import { keyUsageBit } from '../x509/certificate.js';
import { extensionOid, purposeOid } from './profile.js';
import type { Position, ProfileLink } from './profile-link.js';
import { keyKinds, kindOf } from './signature-algorithm.js';
import { describeTimeLeft } from './time-left.js';

/** The CA whose leaves sign code, or a timestamp authority. */
export type ChainPurpose = 'codeSigning' | 'timeStamping';

/** What a rule about one certificate may look at. */
export interface RuleContext {
  readonly position: Position;
  readonly purpose: ChainPurpose;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** One thing that is wrong, or worth knowing, with one certificate by itself; to be read after its title. */
export interface Rule {
  /** Stable, for scripts. */
  readonly name: string;
  readonly level: 'error' | 'warning';
  readonly check: (link: ProfileLink, context: RuleContext) => string | undefined;
}

type Check = Rule['check'];
const error = (name: string, check: Check): Rule => ({ name, level: 'error', check });
const warning = (name: string, check: Check): Rule => ({ name, level: 'warning', check });
/** An error below the root; in a root, which nobody verifies and which may be a company's old one, a warning. */
const laxInRoot = (name: string, check: Check): readonly Rule[] => [
  error(name, (link, context) => (context.position === 'root' ? undefined : check(link, context))),
  warning(name, (link, context) => (context.position === 'root' ? check(link, context) : undefined)),
];

const dayMs = 24 * 60 * 60 * 1000;
const warnDays = 30;

const strongSignatures = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.10',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
]);
const weakSignatures: Readonly<Record<string, string>> = {
  '1.2.840.10045.4.1': 'ECDSA with SHA-1',
  '1.2.840.113549.1.1.4': 'RSA with MD5',
  '1.2.840.113549.1.1.5': 'RSA with SHA-1',
};

/** Critical extensions that verifiers understand; any other makes them refuse the chain (RFC 5280 Section 4.2). */
const understood = new Set<string>([
  extensionOid.keyUsage,
  extensionOid.basicConstraints,
  extensionOid.extendedKeyUsage,
  extensionOid.nameConstraints,
  '2.5.29.17',
  '2.5.29.32',
]);

const purposeTitles: Readonly<Record<string, string>> = {
  [purposeOid.any]: 'any',
  [purposeOid.codeSigning]: 'codeSigning',
  [purposeOid.timeStamping]: 'timeStamping',
  '1.3.6.1.5.5.7.3.1': 'serverAuth',
  '1.3.6.1.5.5.7.3.2': 'clientAuth',
  '1.3.6.1.5.5.7.3.4': 'emailProtection',
  '1.3.6.1.5.5.7.3.9': 'OCSPSigning',
};
const usageTitles = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;

/** "codeSigning, serverAuth": extended key usages by name, unknown ones by number. */
export function describePurposes(oids: readonly string[]): string {
  return oids.map((oid) => purposeTitles[oid] ?? oid).join(', ') || 'none';
}

/** "keyCertSign, cRLSign": the bits of a key usage by name. */
export function describeKeyUsage(bits: number): string {
  return usageTitles.filter((_, bit) => (bits & (1 << bit)) !== 0).join(', ') || 'none';
}

const isCritical = ({ certificate }: ProfileLink, oid: string): boolean =>
  certificate.extensions.some((extension) => extension.oid === oid && extension.critical);

/** Rules for every certificate. */
const commonRules: readonly Rule[] = [
  error('serial', ({ certificate: { serial } }) => {
    if (serial.every((byte) => byte === 0)) return 'has the serial number 0; expected a positive one';
    return serial.length > 20 ? `has a serial number of ${serial.length} bytes; expected 20 at most` : undefined;
  }),
  error('name', ({ attributes }) =>
    attributes.length === 0 ? 'has an empty subject; expected an organization and a common name' : undefined,
  ),
  warning('name', ({ attributes }) => {
    const lacks = (oid: string): boolean => attributes.length > 0 && !attributes.some((one) => one.oid === oid);
    if (lacks('2.5.4.3')) return 'has no common name (CN) in its subject, by which people tell CAs apart';
    return lacks('2.5.4.10') ? 'has no organization (O) in its subject' : undefined;
  }),
  error('key', ({ publicKey }) => {
    const kind = kindOf(publicKey);
    return keyKinds.some((known) => known === kind)
      ? undefined
      : `has a key of the kind ${kind}, which clients refuse; expected ${keyKinds.join(', ')}`;
  }),
  warning('key', ({ publicKey }) =>
    kindOf(publicKey) === 'RSA 2048'
      ? 'has an RSA key of 2048 bits; expected 3072 or more for keys that live for years'
      : undefined,
  ),
  error('signature-algorithm', ({ certificate: { signatureAlgorithmOid: oid } }, { position }) =>
    position === 'root' || strongSignatures.has(oid)
      ? undefined
      : `is signed with ${weakSignatures[oid] ?? `the algorithm ${oid}`}, which clients refuse; expected SHA-256 or stronger`,
  ),
  warning('signature-algorithm', ({ certificate: { signatureAlgorithmOid: oid } }, { position }) =>
    position === 'root' && !strongSignatures.has(oid)
      ? `is signed by itself with ${weakSignatures[oid] ?? `the algorithm ${oid}`}, which some clients refuse even in a root`
      : undefined,
  ),
  error('validity', ({ certificate: { notBefore, notAfter } }, { now }) => {
    if (notAfter <= notBefore) return `ends (${notAfter.toISOString()}) before it begins (${notBefore.toISOString()})`;
    if (now < notBefore.getTime()) return `is not valid before ${notBefore.toISOString()}`;
    return now > notAfter.getTime() ? `has expired at ${notAfter.toISOString()}` : undefined;
  }),
  warning('validity', ({ certificate: { notAfter } }, { now }) => {
    const leftMs = notAfter.getTime() - now;
    return leftMs >= 0 && leftMs < warnDays * dayMs
      ? `expires in ${describeTimeLeft(leftMs)}, at ${notAfter.toISOString()}`
      : undefined;
  }),
  error('critical-extension', ({ certificate: { extensions } }) => {
    const unknown = extensions.filter(({ oid, critical }) => critical && !understood.has(oid)).map(({ oid }) => oid);
    return unknown.length === 0
      ? undefined
      : `has the critical extension ${unknown.join(', ')}, because of which clients refuse it; expected it not to be critical`;
  }),
  ...laxInRoot('subject-key-id', ({ use }) =>
    use.subjectKeyId === undefined ? 'has no subject key identifier (RFC 5280 Section 4.2.1.2)' : undefined,
  ),
  error('authority-key-id', ({ use }, { position }) =>
    position !== 'root' && use.authorityKeyId === undefined
      ? 'has no authority key identifier (RFC 5280 Section 4.2.1.1)'
      : undefined,
  ),
  warning('name-constraints', ({ certificate: { extensions } }) =>
    extensions.some(({ oid }) => oid === extensionOid.nameConstraints)
      ? 'has name constraints: certificates whose email address or URI lies outside of them are issued and then refused by clients'
      : undefined,
  ),
];

/** Rules for every certificate but a timestamp authority's own. */
const caRules: readonly Rule[] = [
  error('basic-constraints', ({ use }) =>
    use.basicConstraints?.ca === true ? undefined : 'is not a CA certificate; expected basicConstraints with CA:TRUE',
  ),
  ...laxInRoot('basic-constraints', (link) =>
    link.use.basicConstraints?.ca !== true || isCritical(link, extensionOid.basicConstraints)
      ? undefined
      : 'has basicConstraints that are not critical',
  ),
  error('path-length', ({ use, index }, { purpose }) => {
    const limit = use.basicConstraints?.pathLength;
    const below = purpose === 'timeStamping' ? index - 1 : index;
    return limit === undefined || limit >= below
      ? undefined
      : `allows ${limit} CA certificates below it (pathlen), and the chain has ${below}`;
  }),
  warning('path-length', ({ use }, { position }) => {
    const limit = use.basicConstraints?.pathLength;
    return position === 'issuing' && use.basicConstraints?.ca === true && limit !== 0
      ? `allows ${limit ?? 'any number of'} CA certificates below it; expected pathlen 0, so that its key cannot make CAs`
      : undefined;
  }),
  ...laxInRoot('key-usage', ({ use }) =>
    use.keyUsage === undefined ? 'has no keyUsage; expected keyCertSign and cRLSign' : undefined,
  ),
  error('key-usage', ({ use: { keyUsage } }) =>
    keyUsage !== undefined && (keyUsage & keyUsageBit.keyCertSign) === 0
      ? `may not sign certificates: its keyUsage is ${describeKeyUsage(keyUsage)}; expected keyCertSign and cRLSign`
      : undefined,
  ),
  warning('key-usage', (link) => {
    const { keyUsage } = link.use;
    if (keyUsage === undefined) return undefined;
    if (!isCritical(link, extensionOid.keyUsage)) return 'has a keyUsage that is not critical';
    const profile = keyUsageBit.keyCertSign | keyUsageBit.crlSign;
    return (keyUsage & keyUsageBit.keyCertSign) === 0 || keyUsage === profile
      ? undefined
      : `has the keyUsage ${describeKeyUsage(keyUsage)}; expected keyCertSign and cRLSign, nothing else`;
  }),
  error('extended-key-usage', caPurposeProblem),
  warning('extended-key-usage', ({ use }, context) => {
    const purposes = use.extendedKeyUsage;
    if (purposes === undefined || caPurposeProblem({ use }, context) !== undefined) return undefined;
    if (context.position === 'root')
      return `has the extended key usage ${describePurposes(purposes)}; expected none in a root`;
    return purposes.length > 1
      ? `has the extended key usage ${describePurposes(purposes)}; expected ${context.purpose} alone`
      : undefined;
  }),
];

/** Verifiers chain extended key usages: what a CA does not have, nothing below it has. */
function caPurposeProblem({ use }: Pick<ProfileLink, 'use'>, { position, purpose }: RuleContext): string | undefined {
  const purposes = use.extendedKeyUsage;
  const wanted = purposeOid[purpose];
  // Fulcio and the timestamp authority of Sigstore refuse to start without it; roots may leave it out.
  const mustHave = position === 'issuing' || (position === 'between' && purpose === 'timeStamping');
  if (purposes === undefined) {
    return mustHave ? `has no extended key usage; expected ${purpose} in a CA below a root` : undefined;
  }
  if (purposes.includes(wanted) || (!mustHave && purposes.includes(purposeOid.any))) return undefined;
  return `has the extended key usage ${describePurposes(purposes)}, so that nothing below it is valid for ${purpose}`;
}

/** Rules for a timestamp authority's own certificate (RFC 3161 Section 2.3). */
const timestampRules: readonly Rule[] = [
  error('key', ({ publicKey }) =>
    publicKey.asymmetricKeyType === 'ed25519'
      ? 'has a key of the kind Ed25519, with which the server signs no timestamps; expected EC or RSA'
      : undefined,
  ),
  error('basic-constraints', ({ use }) =>
    use.basicConstraints?.ca === true ? 'is a CA certificate; expected one that only signs timestamps' : undefined,
  ),
  error('key-usage', ({ use: { keyUsage } }) =>
    keyUsage !== undefined && (keyUsage & keyUsageBit.digitalSignature) !== 0
      ? undefined
      : `may not sign timestamps: its keyUsage is ${describeKeyUsage(keyUsage ?? 0)}; expected digitalSignature`,
  ),
  error('extended-key-usage', (link) => {
    const purposes = link.use.extendedKeyUsage ?? [];
    if (purposes.length !== 1 || purposes[0] !== purposeOid.timeStamping) {
      return `has the extended key usage ${describePurposes(purposes)}; expected timeStamping alone`;
    }
    return isCritical(link, extensionOid.extendedKeyUsage)
      ? undefined
      : 'has the extended key usage timeStamping, but not as a critical extension';
  }),
];

/** The rules for a certificate in this position. */
export function rulesFor(position: Position): readonly Rule[] {
  return [...commonRules, ...(position === 'timestamping' ? timestampRules : caRules)];
}
