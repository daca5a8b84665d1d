import { RE2JS } from 're2js';
import { PolicyError, type Verdict } from './verdict.js';

/** Tests text as a whole: a pattern is anchored at both ends. */
export type TextTest = (text: string) => Verdict;

const maxPatternChars = 512;
/** Instructions of a compiled pattern; 28 for a URL with a wildcard at its end. */
const maxProgramSize = 250;
/**
 * Instructions times characters. RE2 needs at most about 90 ns for each when a pattern is made to be slow, so one test
 * ends within 10 ms whatever pattern and token say; a pattern of 30 instructions may look at 3,300 characters.
 */
const maxSteps = 100_000;

/**
 * A regular expression in RE2's syntax (linear time, no look-around, no back-references), anchored at both ends. With
 * `ignoreCase`, ASCII letters match either case and nothing else does. Throws PolicyError.
 */
export function regexTest(source: string, ignoreCase: boolean): TextTest {
  if (/(?<!\\)(?:\\\\)*\(\?[A-Za-z]*i/.test(source)) {
    throw new PolicyError(`the regular expression has the flag "i"; expected ignore-case: true beside it`);
  }
  return compiled(source, ignoreCase, source);
}

/**
 * A glob: `*` is any text without a slash, `**` any text, `?` one character that is no slash; a backslash takes the meaning
 * from the character after it. Throws PolicyError.
 */
export function globTest(glob: string, ignoreCase: boolean): TextTest {
  const { literals, wildcards, regex } = translate(glob);
  const [prefix = '', ...others] = literals;
  if (wildcards === '**' && others.join('') === '' && !ignoreCase) {
    return (text) => (text.startsWith(prefix) ? 'match' : 'differs');
  }
  const test = compiled(regex, ignoreCase, glob);
  if (ignoreCase) return test;
  // Most rules of a long list differ here already, at a tenth of the cost.
  return (text) =>
    text.startsWith(prefix) && others.every((literal) => text.includes(literal)) ? test(text) : 'differs';
}

interface Translated {
  /** The text before, between and after the wildcards. */
  readonly literals: readonly string[];
  readonly wildcards: string;
  readonly regex: string;
}

const regexOf: Readonly<Record<string, string>> = { '**': '(?s:.*)', '*': '[^/]*', '?': '[^/]' };

function translate(glob: string): Translated {
  const literals = [''];
  let wildcards = '';
  let regex = '';
  for (const [token] of glob.matchAll(/\*+|\?|\\?./gsu)) {
    if (token.startsWith('***')) {
      throw new PolicyError(`the glob ${JSON.stringify(glob)} has "${token}"; expected * or **`);
    }
    if (token === '\\') throw new PolicyError(`the glob ${JSON.stringify(glob)} ends in a single backslash`);
    const wildcard = regexOf[token];
    if (wildcard === undefined) {
      const literal = token.startsWith('\\') ? token.slice(1) : token;
      literals.push((literals.pop() ?? '') + literal);
      regex += RE2JS.quote(literal);
    } else {
      literals.push('');
      wildcards += token;
      regex += wildcard;
    }
  }
  return { literals, wildcards, regex };
}

function compiled(regex: string, ignoreCase: boolean, shown: string): TextTest {
  if (shown.length > maxPatternChars) {
    throw new PolicyError(`the pattern has ${shown.length} characters; expected at most ${maxPatternChars}`);
  }
  const pattern = compile(regex, ignoreCase, shown);
  const size = pattern.programSize();
  if (size > maxProgramSize) {
    const found = `the pattern ${JSON.stringify(shown)} becomes ${size} steps`;
    throw new PolicyError(`${found}; expected at most ${maxProgramSize}: repetitions {n} count n times`);
  }
  const maxChars = Math.floor(maxSteps / size);
  return (text) => {
    if (text.length > maxChars) return 'undecided';
    // RE2 folds these two to "k" and "s", and nothing outside ASCII may pass for an ASCII letter.
    if (ignoreCase && /[\u212a\u017f]/.test(text)) return 'undecided';
    return pattern.matches(text) ? 'match' : 'differs';
  };
}

function compile(regex: string, ignoreCase: boolean, shown: string): RE2JS {
  try {
    return RE2JS.compile(regex, ignoreCase ? RE2JS.CASE_INSENSITIVE : 0);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.replace(/^error parsing regexp: /, '') : String(cause);
    throw new PolicyError(`the regular expression ${JSON.stringify(shown)} cannot be used: ${reason}`, { cause });
  }
}
