import { claimAt } from '../identity/claims.js';
import type { Condition } from '../policy/rules.js';
import { anyElement, type Scalar, type ValueSpec, valueTest } from '../policy/value-test.js';
import { anyOf, PolicyError, type PolicySubject, type ValueTest, type Verdict } from '../policy/verdict.js';
import { asBoolean, asText, conditionFields, kindOf, readFields } from './identity-fields.js';
import { parseJsonPath } from './identity-json-path.js';
import { configError, type Located, type LocatedEntry, type LocatedMap, type LocatedScalar } from './identity-tree.js';

export type RuleKind = 'allow' | 'deny';

/** A compiled condition on one value, with its words for people. */
export interface Matcher {
  readonly title: string;
  readonly cost: number;
  readonly test: ValueTest;
  /** What it says of a claim that the token lacks. */
  readonly missing: Verdict;
}

/** A condition on a claim: the key is its exact name, or with a `$` in front a path (`$.a.b`). Throws AppError STARTUP. */
export function claimCondition(entry: LocatedEntry, kind: RuleKind): Condition {
  const path = entry.key.startsWith('$') ? parseJsonPath(entry.key) : [entry.key];
  if (path === undefined) throw configError(entry, 'is not a path; expected the name of a claim, or $.a.b or $["a"].b');
  const { title, cost, test, missing } = parseMatcher(entry.value, kind);
  return {
    title: `claim ${entry.key}: ${title}`,
    cost,
    test: ({ claims }) => {
      const value = claimAt(claims, path);
      return value === undefined ? missing : test(value);
    },
  };
}

/** A condition on text that every request has. Throws AppError STARTUP. */
export function textCondition(
  entry: LocatedEntry,
  kind: RuleKind,
  textOf: (subject: PolicySubject) => string,
): Condition {
  const { title, cost, test } = textMatcher(entry, kind);
  return { title: `${entry.key}: ${title}`, cost, test: (subject) => test(textOf(subject)) };
}

/** A condition that can only be about text. Throws AppError STARTUP. */
export function textMatcher(entry: LocatedEntry, kind: RuleKind): Matcher {
  const { value } = entry;
  if (value.kind === 'scalar' && typeof value.value !== 'string') {
    throw configError(value, `is ${kindOf(value)}; expected text`);
  }
  if (value.kind === 'map') {
    const misplaced = value.entries.find(({ key }) => [...forClaims].some((name) => isField(key, name)));
    if (misplaced !== undefined) throw configError(misplaced, 'is for claims; this is always there, and text');
  }
  return parseMatcher(value, kind);
}

type FieldName = keyof typeof conditionFields;
type Fields = ReadonlyMap<FieldName, LocatedEntry>;

const forClaims: readonly FieldName[] = ['any', 'asText', 'missing'];

const isField = (key: string, name: FieldName): boolean =>
  conditionFields[name].yaml === key || conditionFields[name].json === key;

function parseMatcher(node: Located, kind: RuleKind): Matcher {
  if (node.kind === 'map') return mappingMatcher(node, kind);
  if (node.kind === 'scalar') return plain(node, [scalar(node)]);
  const scalars = node.items.filter((item) => item.kind === 'scalar');
  const others = node.items.filter((item) => item.kind !== 'scalar').map((item) => alternative(item, kind));
  const exact = scalars.length > 0 || others.length === 0 ? [plain(node, scalars.map(scalar))] : [];
  return others.length === 0 && exact[0] !== undefined ? exact[0] : either([...exact, ...others]);
}

function alternative(item: Located, kind: RuleKind): Matcher {
  if (item.kind !== 'map')
    throw configError(item, `is ${kindOf(item)}; expected a value, or a mapping such as glob: a/*`);
  return mappingMatcher(item, kind);
}

function either(matchers: readonly Matcher[]): Matcher {
  return {
    title: matchers.map(({ title }) => title).join(' or '),
    cost: Math.max(...matchers.map(({ cost }) => cost)),
    test: (value) => anyOf(matchers.map(({ test }) => test(value))),
    missing: anyOf(matchers.map(({ missing }) => missing)),
  };
}

const plainSpec: ValueSpec = { equals: [], globs: [], regexes: [], ignoreCase: false, asText: false };

function plain(node: Located, equals: readonly Scalar[]): Matcher {
  const test = located(node, () => valueTest({ ...plainSpec, equals }));
  return { title: shown(equals), cost: 0, test, missing: 'undecided' };
}

function mappingMatcher(node: LocatedMap, kind: RuleKind): Matcher {
  const fields = readFields(node, conditionFields);
  const missing = missingVerdict(fields.get('missing'), kind);
  const any = fields.get('any');
  if (any !== undefined) {
    const extra = [...fields].find(([name]) => name !== 'any' && name !== 'missing');
    if (extra !== undefined) throw configError(extra[1], 'stands beside "any"; expected it below "any"');
    const { title, cost, test } = parseMatcher(any.value, kind);
    return { title: `any element ${title}`, cost: Math.max(cost, 1), test: anyElement(test), missing };
  }
  const spec: ValueSpec = {
    equals: scalarsOf(fields.get('equals')),
    globs: textsOf(fields.get('glob')),
    regexes: textsOf(fields.get('regex')),
    ignoreCase: asBoolean(fields.get('ignoreCase')),
    asText: asBoolean(fields.get('asText')),
  };
  const cost = spec.globs.length + spec.regexes.length === 0 ? 0 : 1;
  return { title: titleOf(spec, fields), cost, test: located(node, () => valueTest(spec)), missing };
}

function titleOf(spec: ValueSpec, fields: Fields): string {
  const parts = [
    ...(spec.equals.length === 0 ? [] : [shown(spec.equals)]),
    ...(spec.globs.length === 0 ? [] : [`glob ${shown(spec.globs)}`]),
    ...(spec.regexes.length === 0 ? [] : [`regex ${shown(spec.regexes)}`]),
  ];
  const marks = (['ignoreCase', 'asText', 'missing'] as const).filter((name) => fields.has(name));
  const notes = marks.map((name) => `${conditionFields[name].yaml}: ${asText(fields.get(name))}`);
  return `${parts.join(' or ')}${notes.length === 0 ? '' : ` (${notes.join(', ')})`}`;
}

const maxShown = 8;

function shown(values: readonly Scalar[]): string {
  const texts = values.slice(0, maxShown).map((value) => JSON.stringify(value));
  return `${texts.join(' | ')}${values.length > maxShown ? ` | … (${values.length} values)` : ''}`;
}

function missingVerdict(entry: LocatedEntry | undefined, kind: RuleKind): Verdict {
  if (entry === undefined) return 'undecided';
  if (kind === 'allow')
    throw configError(entry, 'is for deny rules: a claim that is missing never helps an allow rule');
  const text = asText(entry);
  if (text === 'match') return 'undecided';
  if (text === 'no-match') return 'differs';
  throw configError(entry, `is ${JSON.stringify(text)}; expected match or no-match`);
}

function scalarsOf(entry: LocatedEntry | undefined): readonly Scalar[] {
  if (entry === undefined) return [];
  return (entry.value.kind === 'list' ? entry.value.items : [entry.value]).map(scalar);
}

function textsOf(entry: LocatedEntry | undefined): readonly string[] {
  if (entry === undefined) return [];
  return (entry.value.kind === 'list' ? entry.value.items : [entry.value]).map((node) => {
    const value = scalar(node);
    if (typeof value !== 'string' || value === '') throw configError(node, `is ${kindOf(node)}; expected a pattern`);
    return value;
  });
}

function scalar(node: Located): Scalar {
  const value: LocatedScalar['value'] = node.kind === 'scalar' ? node.value : undefined;
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number') return value;
  throw configError(node, `is ${value === null ? 'null' : kindOf(node)}; expected text, a number, true or false`);
}

/** Runs `make`; what it says of a rule becomes an AppError STARTUP with file, line and path. */
export function located<T>(place: Located | LocatedEntry, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof PolicyError) throw configError(place, error.message, error);
    throw error;
  }
}
