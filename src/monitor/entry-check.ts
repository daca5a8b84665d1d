import { createHash, X509Certificate } from 'node:crypto';
import { precertProblem } from '../ctlog/fsck-precert.js';
import { messageOf } from '../errors.js';
import { type Certificate, certificateUse, parseCertificate } from '../x509/certificate.js';
import { describeName } from '../x509/name.js';
import { certificateAround, describeCertificate, keyHashOf } from './certificate.js';
import type { Finding } from './finding.js';
import type { Candidate } from './matcher.js';
import type { LogEntry } from './source.js';

/** Marks a CA that signs precertificates in another's name (RFC 6962 Section 3.1). */
const precertificateSigning = '1.3.6.1.4.1.11129.2.4.4';

export interface CheckedEntry {
  /** Undefined when no certificate could be read. */
  readonly candidate: Candidate | undefined;
  readonly findings: readonly Finding[];
}

/** Issuer certificates kept: a log has few. */
const maxIssuers = 64;

/** Judges entries; see `checkEntry`. */
export type EntryChecker = (logged: LogEntry, headTime: number) => Promise<CheckedEntry>;

/**
 * A checker that remembers the last issuers it has parsed. `cas` are DER certificates known from elsewhere: nothing in the
 * tree covers those that a log shows, so it could show one with other dates and the same key.
 */
export function createEntryChecker(cas: readonly Uint8Array[]): EntryChecker {
  const known = new Map<string, Uint8Array>();
  for (const der of cas) known.set(Buffer.from(keyHashOf(parseCertificate(der))).toString('hex'), der);
  const issuers = new Map<string, Issuer | undefined>();
  const issuerOf = (der: Uint8Array): Issuer | undefined => {
    const name = createHash('sha256').update(der).digest('base64');
    if (!issuers.has(name)) {
      const [oldest] = issuers.keys();
      if (issuers.size === maxIssuers && oldest !== undefined) issuers.delete(oldest);
      issuers.set(name, parseIssuer(der));
    }
    return issuers.get(name);
  };
  return (logged, headTime) => {
    const signed = logged.entry?.entry;
    const ca = signed?.type === 'precert' ? known.get(Buffer.from(signed.issuerKeyHash).toString('hex')) : undefined;
    return checkEntry(ca === undefined ? logged : { ...logged, issuer: async () => ca }, headTime, issuerOf);
  };
}

type IssuerOf = (der: Uint8Array) => Issuer | undefined;

/**
 * Reads the certificate of an entry and judges it: whether it can be read, whether it is the precertificate that was logged,
 * and whether its CA's certificate was valid when it was issued. `headTime` is the tree head's, in milliseconds since the
 * epoch: no entry may be newer (RFC 6962 Section 3.5).
 */
async function checkEntry(logged: LogEntry, headTime: number, issuerOf: IssuerOf): Promise<CheckedEntry> {
  const { index, entry } = logged;
  const findings: Finding[] = [];
  const report = (kind: Finding['kind'], expected: string, found: string): void => {
    findings.push({ kind, key: `${index} ${expected}`, expected, found, index });
  };
  if (logged.problem !== undefined) report('unreadable-entry', 'an entry in the form of RFC 6962', logged.problem);
  if (entry === undefined) return { candidate: undefined, findings };
  if (entry.timestamp > BigInt(headTime)) {
    const found = `timestamp ${entry.timestamp}`;
    report('unreadable-entry', `a timestamp not after the tree head's, ${headTime}`, found);
  }
  let certificate: Certificate;
  try {
    certificate =
      entry.entry.type === 'precert' ? certificateAround(entry.entry.tbs) : parseCertificate(entry.entry.certificate);
  } catch (error) {
    report('unreadable-entry', 'a certificate', messageOf(error));
    return { candidate: undefined, findings };
  }
  const described = describeCertificate(certificate);
  for (const [part, problem] of Object.entries(described.problems)) {
    report('unreadable-entry', `a certificate with readable ${part}`, problem);
  }
  const issuerKeyHash = entry.entry.type === 'precert' ? entry.entry.issuerKeyHash : undefined;
  for (const finding of await issuerFindings(logged, certificate, issuerOf)) report(...finding);
  return { candidate: { certificate, described, issuerKeyHash }, findings };
}

type Told = readonly [kind: Finding['kind'], expected: string, found: string];

async function issuerFindings(logged: LogEntry, certificate: Certificate, issuerOf: IssuerOf): Promise<Told[]> {
  const { entry: timestamped } = logged;
  if (timestamped === undefined) return [];
  const { entry, timestamp } = timestamped;
  const der = await logged.issuer();
  const issuer = der === undefined ? undefined : issuerOf(der);
  if (entry.type === 'x509') {
    // Nothing in the tree names the issuer of a final certificate: only one that signed it is its issuer.
    const isIssuer = issuer !== undefined && signed(entry.certificate, issuer.node);
    return isIssuer ? validityFindings(issuer.parsed, certificate.notBefore) : [];
  }
  if (issuer?.signsForAnother === true) return [];
  const issues = issuer !== undefined && Buffer.compare(keyHashOf(issuer.parsed), entry.issuerKeyHash) === 0;
  const told: Told[] = [];
  if (!issues) told.push(['precertificate-mismatch', 'the issuer certificate whose key hash the entry has', 'none']);
  const { precertificate } = logged;
  if (precertificate !== undefined) {
    const leaf = { timestampedEntry: timestamped, precertificate, chainFingerprints: [], ...noBytes };
    const problem = precertProblem(leaf, issues ? issuer.node : undefined);
    if (problem !== undefined) told.push(['precertificate-mismatch', problem.expected, problem.found]);
  }
  if (!issues) return told;
  const logTime = new Date(Number(timestamp));
  return [...told, ...validityFindings(issuer.parsed, certificate.notBefore, logTime)];
}

const noBytes = { bytes: new Uint8Array(), merkleTreeLeaf: new Uint8Array() };

/** How far the clocks of CA and log may lie apart. */
const clockSkewMs = 60_000;

/** A precertificate is logged as it is issued, so the log's time shows one that was dated back. */
function validityFindings(ca: Certificate, notBefore: Date, logTime?: Date): Told[] {
  const inside = (time: Date): boolean =>
    time.getTime() >= ca.notBefore.getTime() - clockSkewMs && time.getTime() <= ca.notAfter.getTime() + clockSkewMs;
  const issuedInside = inside(notBefore);
  if (issuedInside && (logTime === undefined || inside(logTime))) return [];
  const period = `${iso(ca.notBefore)} to ${iso(ca.notAfter)}, when ${describeName(ca.subject)} is valid`;
  return issuedInside && logTime !== undefined
    ? [['outside-validity', `a precertificate logged from ${period}`, `it was logged ${iso(logTime)}`]]
    : [['outside-validity', `a certificate of ${period}`, `notBefore ${iso(notBefore)}`]];
}

interface Issuer {
  readonly parsed: Certificate;
  readonly node: X509Certificate;
  readonly signsForAnother: boolean;
}

/** Undefined for what is no certificate. */
function parseIssuer(der: Uint8Array): Issuer | undefined {
  try {
    const parsed = parseCertificate(der);
    const { extendedKeyUsage = [] } = certificateUse(parsed);
    const signsForAnother = extendedKeyUsage.includes(precertificateSigning);
    return { parsed, node: new X509Certificate(der), signsForAnother };
  } catch {
    return undefined;
  }
}

function signed(certificate: Uint8Array, issuer: X509Certificate): boolean {
  try {
    return new X509Certificate(certificate).verify(issuer.publicKey);
  } catch {
    return false;
  }
}

/** A date beyond what toISOString can write is still told. */
function iso(time: Date): string {
  return Number.isNaN(time.getTime()) ? 'an impossible time' : time.toISOString();
}
