import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { globTest, regexTest, type TextTest } from '../policy/text-pattern.js';
import { anyOf, type Verdict } from '../policy/verdict.js';
import type { Certificate } from '../x509/certificate.js';
import { identityExtensions } from '../x509/extensions.js';
import type { LoggedCertificate } from './certificate.js';

/** How a text is compared. */
export interface Pattern {
  readonly kind: 'exact' | 'glob' | 'regexp';
  readonly text: string;
}

/** What certificates are wanted: one pattern of a list has to match, and each list that is there. */
export interface Criteria {
  /** Any subject alternative name. */
  readonly identities: readonly Pattern[];
  /** The OpenID Connect issuer, in either of the extensions that name it. */
  readonly issuers: readonly Pattern[];
  /** By the extension's name in a YAML configuration. */
  readonly extensions: Readonly<Record<string, readonly Pattern[]>>;
  /** DER certificates of issuing CAs. */
  readonly cas: readonly Uint8Array[];
  /** ASCII letters match either case. */
  readonly ignoreCase: boolean;
  /** Everything is wanted, whatever it is. */
  readonly all: boolean;
}

/** Which criteria a certificate met, and which could not be decided: it is reported for those too. */
export interface Matched {
  readonly matched: readonly string[];
  readonly undecided: readonly string[];
}

/** An entry as it is judged. `issuerKeyHash` is of a precert entry, where the tree has it. */
export interface Candidate {
  readonly certificate: Certificate;
  readonly described: LoggedCertificate;
  readonly issuerKeyHash: Uint8Array | undefined;
}

export type Matcher = (candidate: Candidate) => Matched | undefined;

/** Names that `Criteria.extensions` may use. */
export const extensionFields: ReadonlySet<string> = new Set(
  Object.values(identityExtensions).map(({ yaml }): string => yaml),
);

/** A matcher for the criteria; without any it matches nothing. Throws PolicyError for a pattern that cannot be used. */
export function createMatcher(criteria: Criteria): Matcher {
  const fields = fieldsOf(criteria);
  if (criteria.all) return () => ({ matched: ['all'], undecided: [] });
  if (fields.length === 0) return () => undefined;
  return (candidate) => {
    const matched: string[] = [];
    const undecided: string[] = [];
    for (const { name, test } of fields) {
      const verdict = test(candidate);
      if (verdict === 'differs') return undefined;
      (verdict === 'match' ? matched : undecided).push(name);
    }
    return { matched, undecided };
  };
}

interface Field {
  readonly name: string;
  readonly test: (candidate: Candidate) => Verdict;
}

function fieldsOf({ identities, issuers, extensions, cas, ignoreCase }: Criteria): Field[] {
  const fields: Field[] = [];
  if (identities.length > 0) {
    const values = ({ described: { names } }: Candidate): string[] => names.map(({ value }) => value);
    fields.push(textField('identity', identities, ignoreCase, values, ['names']));
  }
  if (issuers.length > 0) {
    const parts = [identityExtensions.issuerV2.yaml, identityExtensions.issuer.yaml];
    fields.push(textField('issuer', issuers, ignoreCase, valuesOf(parts), parts));
  }
  for (const [name, patterns] of Object.entries(extensions)) {
    fields.push(textField(name, patterns, ignoreCase, valuesOf([name]), [name]));
  }
  if (cas.length > 0) fields.push({ name: 'issuing-ca', test: issuedByAny(cas) });
  return fields;
}

const valuesOf =
  (parts: readonly string[]) =>
  ({ described: { extensions } }: Candidate): string[] =>
    parts.flatMap((part) => extensions[part] ?? []);

/** `parts`: what of a certificate the values are read from; when one was not readable, nothing is ruled out. */
function textField(
  name: string,
  patterns: readonly Pattern[],
  ignoreCase: boolean,
  values: (candidate: Candidate) => readonly string[],
  parts: readonly string[],
): Field {
  const tests = patterns.map((pattern) => testOf(pattern, ignoreCase));
  return {
    name,
    test(candidate) {
      const verdict = anyOf(values(candidate).flatMap((value) => tests.map((test) => test(value))));
      const unread = parts.some((part) => candidate.described.problems[part] !== undefined);
      return verdict === 'differs' && unread ? 'undecided' : verdict;
    },
  };
}

const asciiLowerCase = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

function testOf({ kind, text }: Pattern, ignoreCase: boolean): TextTest {
  if (kind === 'glob') return globTest(text, ignoreCase);
  if (kind === 'regexp') return regexTest(text, ignoreCase);
  const fold = ignoreCase ? asciiLowerCase : (value: string): string => value;
  const wanted = fold(text);
  return (value) => (fold(value) === wanted ? 'match' : 'differs');
}

/** By the issuer's key hash, which is in the tree; a final certificate has none there, so its signature says it. */
function issuedByAny(cas: readonly Uint8Array[]): Field['test'] {
  const keys = cas.map((der) => new X509Certificate(der).publicKey);
  const hashes = keys.map((key) =>
    createHash('sha256')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest(),
  );
  return ({ certificate, issuerKeyHash }) => {
    if (issuerKeyHash !== undefined) {
      return hashes.some((hash) => hash.equals(issuerKeyHash)) ? 'match' : 'differs';
    }
    return keys.some((key) => signedBy(certificate, key)) ? 'match' : 'differs';
  };
}

function signedBy({ der }: Certificate, key: KeyObject): boolean {
  try {
    return new X509Certificate(der).verify(key);
  } catch {
    return false;
  }
}
