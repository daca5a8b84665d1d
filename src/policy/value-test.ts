import { globTest, regexTest, type TextTest } from './text-pattern.js';
import { anyOf, PolicyError, type ValueTest, type Verdict } from './verdict.js';

export type Scalar = string | number | boolean;

/** What one value is compared with; a match with any of `equals`, `globs` and `regexes` is a match. */
export interface ValueSpec {
  readonly equals: readonly Scalar[];
  readonly globs: readonly string[];
  readonly regexes: readonly string[];
  /** ASCII letters match either case. */
  readonly ignoreCase: boolean;
  /** Numbers and booleans are compared as their JSON text. */
  readonly asText: boolean;
}

const maxValues = 1000;

/**
 * A test for one JSON value. Strict in types: "1" is not 1. Text is compared by code points and never normalised; text
 * that is not in Unicode's NFC, so has another spelling, is undecided. Throws PolicyError.
 */
export function valueTest(spec: ValueSpec): ValueTest {
  const { ignoreCase, asText } = spec;
  const count = spec.equals.length + spec.globs.length + spec.regexes.length;
  if (count === 0) throw new PolicyError('has nothing to compare with; expected at least one value');
  if (count > maxValues) throw new PolicyError(`has ${count} values; expected at most ${maxValues}`);
  for (const value of [...spec.equals, ...spec.globs, ...spec.regexes]) checkValue(value, ignoreCase);
  const fold = ignoreCase ? asciiLowerCase : (text: string) => text;
  const values = new Set(spec.equals.map((value) => (typeof value === 'string' ? fold(value) : value)));
  const types = new Set(spec.equals.map((value) => typeof value));
  const patterns: TextTest[] = [
    ...spec.globs.map((glob) => globTest(glob, ignoreCase)),
    ...spec.regexes.map((regex) => regexTest(regex, ignoreCase)),
  ];
  if (patterns.length > 0) types.add('string');
  return (given) => {
    const value = asText ? textOf(given) : given;
    if (!types.has(typeof value)) return 'undecided';
    if (typeof value !== 'string') return scalarVerdict(value, values);
    if (values.has(fold(value))) return 'match';
    if (!isNfc(value)) return 'undecided';
    return anyOfPatterns(patterns, value);
  };
}

function anyOfPatterns(patterns: readonly TextTest[], text: string): Verdict {
  const [only] = patterns;
  if (only === undefined) return 'differs';
  return patterns.length === 1 ? only(text) : anyOf(patterns.map((pattern) => pattern(text)));
}

/** Characters of an array's elements together, so that many short ones cost no more than a long one. */
const maxElementChars = 16_384;

/** A test for an array of which some element has to match; too long an array is undecided. */
export function anyElement(test: ValueTest): ValueTest {
  return (value) => {
    if (!Array.isArray(value)) return 'undecided';
    const chars = value.reduce<number>((sum, each) => sum + (typeof each === 'string' ? each.length : 1), 0);
    return chars > maxElementChars ? 'undecided' : anyOf(value.map(test));
  };
}

function scalarVerdict(value: unknown, values: ReadonlySet<unknown>): Verdict {
  // Two numbers that JSON tells apart are one number here beyond 2^53.
  if (typeof value === 'number' && !isExact(value)) return 'undecided';
  return values.has(value) ? 'match' : 'differs';
}

const isExact = (value: number): boolean => Math.abs(value) <= Number.MAX_SAFE_INTEGER;

function textOf(value: unknown): unknown {
  if (typeof value === 'boolean') return String(value);
  return typeof value === 'number' && isExact(value) ? String(value) : value;
}

function checkValue(value: Scalar, ignoreCase: boolean): void {
  if (typeof value === 'number' && !isExact(value)) {
    throw new PolicyError(`${value} is beyond 2^53, where JSON numbers are not exact; expected it as text, in quotes`);
  }
  if (typeof value !== 'string' || isAscii(value)) return;
  if (!isNfc(value)) throw new PolicyError(`${JSON.stringify(value)} is not in Unicode's NFC, so nothing can match it`);
  if (ignoreCase) {
    const found = JSON.stringify(value);
    throw new PolicyError(`${found} is not ASCII; ignore-case is for ASCII letters only, so expected each spelling`);
  }
}

const isAscii = (text: string): boolean => !/[\u0080-\uffff]/.test(text);
const isNfc = (text: string): boolean => isAscii(text) || text === text.normalize('NFC');
const asciiLowerCase = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
