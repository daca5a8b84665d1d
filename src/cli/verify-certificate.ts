/** What a careful client checks before it uses a certificate it was given. */
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import type { Sct } from '../ct/log.js';
import { logIdOf, type SignedPrecert, verifySct } from '../ct/sct.js';
import { messageOf } from '../errors.js';
import { embeddedScts, signedPrecertOf } from './verify-certificate-fields.js';
import { pathProblem } from './verify-certificate-path.js';

export interface CertificateCheck {
  readonly name: 'key' | 'chain' | 'validity' | 'usage' | 'sct' | 'inclusion';
  /** `skipped`: nothing to check with; `detail` says what is missing. */
  readonly status: 'passed' | 'failed' | 'skipped';
  /** What was found, and what was expected where that differs. */
  readonly detail: string;
}

/** A log's key, and when its timestamps are to be believed. */
export interface LogKey {
  readonly name?: string;
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  readonly start?: Date;
  readonly end?: Date;
}

/** One SCT of a certificate, with what it was given for and the key that signed it. */
export interface LoggedPrecert {
  readonly sct: Sct;
  readonly precert: SignedPrecert;
  readonly logKey: KeyObject;
}

/** All certificates are DER. */
export interface IssuedCertificate {
  readonly leaf: Uint8Array;
  /** What came with the leaf: issuing CA first; the root may be in it and is not trusted for that. */
  readonly chain: readonly Uint8Array[];
  /** DER SubjectPublicKeyInfo of the key the certificate was asked for. */
  readonly expectedKey: Uint8Array;
  readonly roots: readonly Uint8Array[];
  readonly logs: readonly LogKey[];
  /** Set for a certificate authority that is known to run without a transparency log. */
  readonly allowMissingSct?: boolean;
  readonly now: Date;
}

const codeSigning = '1.3.6.1.5.5.7.3.3';
/** How far the clocks of CA, log and client may lie apart. */
const clockSkewMs = 60_000;

type Outcome = Pick<CertificateCheck, 'status' | 'detail'>;
type Rule = (issued: IssuedCertificate, leaf: X509Certificate) => Outcome | Promise<Outcome>;

const passed = (detail: string): Outcome => ({ status: 'passed', detail });
const failed = (detail: string): Outcome => ({ status: 'failed', detail });

const rules: Readonly<Record<Exclude<CertificateCheck['name'], 'inclusion'>, Rule>> = {
  key: ({ expectedKey }, leaf) =>
    leaf.publicKey.export({ type: 'spki', format: 'der' }).equals(expectedKey)
      ? passed('the certificate holds the key it was asked for')
      : failed('the certificate holds another key than the one it was asked for'),
  chain: checkChain,
  validity: checkValidity,
  usage: (_issued, leaf) =>
    leaf.ca || !(leaf.keyUsage ?? []).includes(codeSigning)
      ? failed('the certificate is not one for code signing (extended key usage codeSigning, not a CA)')
      : passed('code signing'),
  sct: checkSct,
};

/**
 * Checks a certificate as it came from a server that is not believed: that it holds our key, leads to a trusted root,
 * is valid now, may sign code, and carries an SCT that a known log signed for it. Never throws: what cannot be read is
 * a failed check.
 */
export async function verifyIssued(issued: IssuedCertificate): Promise<readonly CertificateCheck[]> {
  const checks: CertificateCheck[] = [];
  for (const [name, rule] of Object.entries(rules) as [keyof typeof rules, Rule][]) {
    try {
      checks.push({ name, ...(await rule(issued, new X509Certificate(issued.leaf))) });
    } catch (error) {
      checks.push({ name, ...failed(`cannot be checked: ${messageOf(error)}`) });
    }
  }
  return checks;
}

async function checkChain({ leaf, chain, roots }: IssuedCertificate, parsed: X509Certificate): Promise<Outcome> {
  // Judged at the leaf's own time; whether that is now is the next rule's question.
  const problem = await pathProblem(leaf, chain, roots, new Date(parsed.validFrom));
  if (problem === undefined) return passed(`issued by ${oneLine(parsed.issuer)} under a trusted root`);
  const found = chain.at(-1);
  const end =
    found === undefined ? 'it came without a chain' : `it ends in ${oneLine(new X509Certificate(found).subject)}`;
  return failed(`the chain does not lead to a trusted root: ${end} (${problem})`);
}

function checkValidity({ now }: IssuedCertificate, leaf: X509Certificate): Outcome {
  const [from, to] = [new Date(leaf.validFrom), new Date(leaf.validTo)];
  const span = `${from.toISOString()} to ${to.toISOString()}`;
  const begun = from.getTime() <= now.getTime() + clockSkewMs;
  return begun && now <= to ? passed(span) : failed(`it is valid from ${span}; it is now ${now.toISOString()}`);
}

function checkSct(issued: IssuedCertificate): Outcome {
  const scts = embeddedScts(issued.leaf);
  if (scts.length === 0) {
    const found = 'the certificate carries no SCT: no transparency log has promised to show it';
    return issued.allowMissingSct ? { status: 'skipped', detail: found } : failed(found);
  }
  if (issued.logs.length === 0) return { status: 'skipped', detail: 'no key of a log is known to check it with' };
  const logged = loggedPrecert(issued);
  if (logged !== undefined) return passed(`log ${base64(logged.sct.logId)} at ${timeOf(logged.sct).toISOString()}`);
  const known = issued.logs.map((log) => base64(logIdOf(keyOf(log))));
  const found = scts.map((sct) => base64(sct.logId));
  return failed(
    found.some((id) => known.includes(id))
      ? 'the SCT does not verify: its signature is not over this certificate, or its time is not one of the log'
      : `the SCT is of log ${found.join(', ')}; expected ${known.join(' or ')}`,
  );
}

/** The first SCT of a certificate that a known log signed for it within its time; undefined when there is none. */
export function loggedPrecert(
  issued: Pick<IssuedCertificate, 'leaf' | 'chain' | 'logs' | 'now'>,
): LoggedPrecert | undefined {
  const [issuer] = issued.chain;
  if (issuer === undefined) return undefined;
  const precert = signedPrecertOf(issued.leaf, issuer);
  const latest = issued.now.getTime() + clockSkewMs;
  for (const sct of embeddedScts(issued.leaf)) {
    for (const log of issued.logs) {
      const logKey = keyOf(log);
      const time = timeOf(sct);
      const inTime = time.getTime() <= latest && (!log.start || time >= log.start) && (!log.end || time <= log.end);
      if (inTime && verifySct(sct, precert, logKey)) return { sct, precert, logKey };
    }
  }
  return undefined;
}

function keyOf(log: LogKey): KeyObject {
  return createPublicKey({ key: Buffer.from(log.publicKey), format: 'der', type: 'spki' });
}

function timeOf(sct: Sct): Date {
  return new Date(Number(sct.timestamp));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

/** Node writes a name one attribute a line. */
function oneLine(name: string): string {
  return name.split('\n').join(', ');
}
