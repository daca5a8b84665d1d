import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { AppError, messageOf } from '../errors.js';
import { isObject } from '../identity/claims.js';
import { parseToken, type RawToken } from '../identity/token.js';
import { type KeyAlgorithmName, keyAlgorithmNames } from '../proof/key-algorithms.js';

/** One question to a policy: a token's claims, a key, and perhaps what the answer has to be. */
export interface PolicyCase {
  /** File, and the case's name or number where the file has several. */
  readonly title: string;
  /** Parsed, and not verified. */
  readonly token: RawToken;
  readonly key: KeyAlgorithmName;
  readonly expect: 'allowed' | 'denied' | undefined;
  /** The rule that has to decide; undefined for any. */
  readonly rule: string | undefined;
}

/** What cosign and the other Sigstore clients bring. */
const usualKey: KeyAlgorithmName = 'ecdsa-p256';
const knownFields = ['name', 'claims', 'key', 'expect', 'rule'];

/**
 * The cases of a file: a token (a JWT), or JSON or YAML with the claims of one, alone or as `claims` beside `key`, `expect`,
 * `rule` and `name`; several as a list or as YAML documents. Throws AppError STARTUP.
 */
export function readCases(file: string): PolicyCase[] {
  const text = readText(file);
  if (/^[\w-]+\.[\w-]+\.[\w-]*$/.test(text.trim())) {
    return [{ title: file, token: tokenOf(text, file), key: usualKey, expect: undefined, rule: undefined }];
  }
  const documents = parseDocuments(text, file).flatMap((each) => (Array.isArray(each) ? each : [each]) as unknown[]);
  if (documents.length === 0) throw wrong(file, 'is empty; expected a token, or JSON or YAML with claims');
  return documents.map((each, i) => readCase(each, documents.length === 1 ? file : `${file}#${i + 1}`));
}

function parseDocuments(text: string, file: string): unknown[] {
  const parsed = parseAllDocuments(text, { merge: true });
  const documents = 'empty' in parsed ? [] : parsed;
  return documents.map((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw wrong(file, `is neither a token nor YAML: ${error.message.split('\n')[0]}`);
    return document.toJS() as unknown;
  });
}

function readCase(value: unknown, title: string): PolicyCase {
  if (!isObject(value)) throw wrong(title, 'is not a mapping; expected claims');
  const { claims } = value;
  // The claims themselves, as a decoder of tokens prints them.
  const fields = isObject(claims) && !Object.hasOwn(value, 'iss') ? value : { claims: value };
  const unknown = Object.keys(fields).find((name) => !knownFields.includes(name));
  if (unknown !== undefined) throw wrong(title, `has "${unknown}"; expected ${knownFields.join(', ')}`);
  const { name, key, expect, rule } = fields;
  return {
    title: name === undefined ? title : `${title} ${JSON.stringify(name)}`,
    token: tokenOf(unsigned(fields.claims), title),
    key: oneOf(key, keyAlgorithmNames, `${title}: key`) ?? usualKey,
    expect: oneOf(expect, ['allowed', 'denied'], `${title}: expect`),
    rule: rule === undefined ? undefined : String(rule),
  };
}

function oneOf<const T extends string>(value: unknown, known: readonly T[], what: string): T | undefined {
  if (value === undefined) return undefined;
  const found = known.find((each) => each === value);
  if (found === undefined) throw wrong(what, `is ${JSON.stringify(value)}; expected ${known.join(', ')}`);
  return found;
}

/** A token that says so, without a signature, so that claims go the way that a token's go. */
function unsigned(claims: unknown): string {
  const segment = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${segment({ alg: 'RS256' })}.${segment(claims)}.AA`;
}

function tokenOf(jwt: string, title: string): RawToken {
  try {
    return parseToken(jwt);
  } catch (error) {
    throw wrong(title, `cannot be used: ${error instanceof AppError ? error.detail : messageOf(error)}`);
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw wrong(file, `cannot be read: ${messageOf(error)}`);
  }
}

const wrong = (what: string, why: string): AppError => new AppError('STARTUP', `${what} ${why}`);
