import { readFileSync } from 'node:fs';
import { didYouMean } from '../config/suggestion.js';
import { AppError, messageOf } from '../errors.js';
import { parseStrictJson } from '../json.js';

/** How the token is picked among those that the module knows. */
export interface TokenChoice {
  readonly by: 'label' | 'serial number' | 'slot number';
  readonly value: string;
}

/** A configuration file of crypto11, the Go library behind Fulcio's PKCS#11 support, as far as a CA needs it. */
export interface Pkcs11Config {
  /** Path of the PKCS#11 module, a shared library. */
  readonly modulePath: string;
  readonly token: TokenChoice;
  /** Undefined when the token takes no login. */
  readonly pin: string | undefined;
  /** CKU_USER, or the vendor's CKU_CRYPTO_USER (0x80000001). */
  readonly userType: number;
  /** Sessions at the same time, one of them to keep the login. */
  readonly maxSessions: number;
  /** How long a signature may wait for a session, in milliseconds; undefined leaves that to the signer. */
  readonly poolWaitMs: number | undefined;
}

/** Fields of crypto11's Config and the JSON types they take; those that only matter to encryption are taken and unused. */
const fieldTypes = {
  Path: 'string',
  TokenSerial: 'string',
  TokenLabel: 'string',
  SlotNumber: 'number',
  Pin: 'string',
  MaxSessions: 'number',
  UserType: 'number',
  PoolWaitTimeout: 'number',
  LoginNotSupported: 'boolean',
  UseGCMIVFromHSM: 'boolean',
  GCMIVLength: 'number',
  GCMIVFromHSMControl: 'object',
} as const;

type FieldName = keyof typeof fieldTypes;
type Fields = Partial<Record<FieldName, unknown>>;

const fieldNames = Object.keys(fieldTypes) as readonly FieldName[];
const ckuUser = 1;
const ckuCryptoUser = 0x80000001;
const defaultMaxSessions = 1024;

/** Reads a configuration file in crypto11's JSON form; throws AppError STARTUP naming flag, file and field, never the PIN. */
export function readPkcs11Config(path: string): Pkcs11Config {
  const where = `--pkcs11-config-path ${path}`;
  let text: Uint8Array;
  try {
    text = readFileSync(path);
  } catch (cause) {
    throw new AppError('STARTUP', `${where}: cannot be read: ${messageOf(cause)}`, { cause });
  }
  return parsePkcs11Config(text, where);
}

/** Parses crypto11's JSON; `where` begins every complaint. Field names in any case, as Go's decoder takes them. */
export function parsePkcs11Config(text: Uint8Array | string, where: string): Pkcs11Config {
  const wrong = (what: string) => new AppError('STARTUP', `${where}: ${what}`);
  const fields = readFields(text, wrong);
  const string = (name: FieldName) => (typeof fields[name] === 'string' ? fields[name] : '');
  const count = (name: FieldName): number => {
    const value = fields[name] ?? 0;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      throw wrong(`${name} is ${String(value)}; expected a whole number from 0`);
    }
    return value;
  };

  const modulePath = string('Path');
  if (modulePath === '') throw wrong('Path is missing; expected the path of the PKCS#11 module, a shared library');
  const token = tokenChoice(fields, string, count, wrong);
  const maxSessions = count('MaxSessions') || defaultMaxSessions;
  if (maxSessions === 1)
    throw wrong('MaxSessions is 1; expected 0 for the default or at least 2: one session keeps the login');
  const userType = count('UserType') || ckuUser;
  if (userType !== ckuUser && userType !== ckuCryptoUser) {
    throw wrong(`UserType is ${userType}; expected ${ckuUser} (user) or ${ckuCryptoUser} (a vendor's crypto user)`);
  }
  const needsLogin = fields.LoginNotSupported !== true;
  if (needsLogin && string('Pin') === '') {
    throw wrong(
      'Pin is missing; expected the PIN of the token, or "LoginNotSupported": true for a token without login',
    );
  }
  // A Go duration: nanoseconds.
  const poolWaitNs = count('PoolWaitTimeout');
  return {
    modulePath,
    token,
    pin: needsLogin ? string('Pin') : undefined,
    userType,
    maxSessions,
    poolWaitMs: poolWaitNs === 0 ? undefined : Math.max(1, Math.round(poolWaitNs / 1e6)),
  };
}

type Wrong = (what: string) => AppError;

function readFields(text: Uint8Array | string, wrong: Wrong): Fields {
  let parsed: unknown;
  try {
    parsed = parseStrictJson(text);
  } catch (cause) {
    throw wrong(`is not JSON: ${messageOf(cause)}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw wrong(`is ${typeName(parsed)}; expected a JSON object such as {"Path": "…", "TokenLabel": "…", "Pin": "…"}`);
  }
  const fields: Fields = {};
  for (const [key, value] of Object.entries(parsed)) {
    const name = fieldNames.find((known) => known.toLowerCase() === key.toLowerCase());
    if (name === undefined) {
      throw wrong(`has the unknown field ${JSON.stringify(key.slice(0, 64))}${didYouMean(key, fieldNames)}`);
    }
    if (name in fields) throw wrong(`has the field ${name} twice`);
    // Go's decoder leaves a field as it was for null.
    if (value === null) continue;
    const expected = fieldTypes[name];
    // Never the value: it may be a PIN that lacks its quotes.
    if (typeof value !== expected || Array.isArray(value)) {
      throw wrong(`${name} is ${typeName(value)}; expected ${typeTitles[expected]}`);
    }
    fields[name] = value;
  }
  return fields;
}

const typeTitles: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object',
};

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeTitles[typeof value] ?? typeof value;
}

function tokenChoice(
  fields: Fields,
  string: (name: FieldName) => string,
  count: (name: FieldName) => number,
  wrong: Wrong,
): TokenChoice {
  const choices: (TokenChoice & { readonly field: string })[] = [];
  if (string('TokenLabel') !== '') choices.push({ field: 'TokenLabel', by: 'label', value: string('TokenLabel') });
  if (string('TokenSerial') !== '') {
    choices.push({ field: 'TokenSerial', by: 'serial number', value: string('TokenSerial') });
  }
  if (fields.SlotNumber !== undefined) {
    choices.push({ field: 'SlotNumber', by: 'slot number', value: String(count('SlotNumber')) });
  }
  const [choice, other] = choices;
  if (choice === undefined) throw wrong('names no token; expected one of TokenLabel, TokenSerial and SlotNumber');
  if (other !== undefined) {
    const named = choices.map(({ field }) => field).join(' and ');
    throw wrong(`picks the token by ${named}; expected one of TokenLabel, TokenSerial and SlotNumber`);
  }
  return { by: choice.by, value: choice.value };
}
