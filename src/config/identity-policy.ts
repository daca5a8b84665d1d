import { celTest } from '../policy/cel.js';
import type { Condition, PolicyDefault, Rule, RuleSet } from '../policy/rules.js';
import { keyAlgorithmNames } from '../proof/key-algorithms.js';
import { claimCondition, located, type RuleKind, textCondition, textMatcher } from './identity-condition.js';
import { asMap, asText, kindOf, readFields, ruleFields } from './identity-fields.js';
import { configError, type Located, type LocatedEntry, type LocatedMap } from './identity-tree.js';

/** More would be data, which belongs into a policy server. */
const maxRules = 1000;
const maxMessageChars = 300;

type PolicyFields = { get(name: 'allow' | 'deny' | 'policyDefault'): LocatedEntry | undefined };
type RuleFields = ReadonlyMap<keyof typeof ruleFields, LocatedEntry>;

/** The keys `allow`, `deny` and `policy-default` of an issuer or a provider template. Throws AppError STARTUP. */
export function parseRules(fields: PolicyFields): RuleSet {
  const rules = {
    allow: parseList(fields.get('allow'), 'allow'),
    deny: parseList(fields.get('deny'), 'deny'),
    fallback: parseDefault(fields.get('policyDefault')),
  };
  refuseSameNames(rules, fields.get('allow') ?? fields.get('deny'));
  return rules;
}

/** An issuer's rules after its provider template's; its own default counts before the template's. Throws AppError STARTUP. */
export function joinRules(provider: RuleSet | undefined, own: RuleSet, issuer: LocatedEntry): RuleSet {
  if (provider === undefined) return own;
  const joined = {
    allow: [...provider.allow, ...own.allow],
    deny: [...provider.deny, ...own.deny],
    fallback: own.fallback ?? provider.fallback,
  };
  refuseSameNames(joined, issuer);
  return joined;
}

function refuseSameNames({ allow, deny }: RuleSet, place: LocatedEntry | undefined): void {
  const names = new Set<string>();
  for (const { name } of [...deny, ...allow]) {
    if (names.has(name) && place !== undefined) {
      throw configError(place, `has two rules named "${name}", those of its provider template counted; expected one`);
    }
    names.add(name);
  }
}

function parseDefault(entry: LocatedEntry | undefined): PolicyDefault | undefined {
  const text = asText(entry);
  if (entry === undefined || text === '') return undefined;
  if (text === 'allow' || text === 'deny') return text;
  throw configError(entry, `is ${JSON.stringify(text)}; expected allow or deny`);
}

function parseList(entry: LocatedEntry | undefined, kind: RuleKind): Rule[] {
  if (entry === undefined) return [];
  const { value } = entry;
  // An empty allow list would mean "nobody" to one reader and "no rules" to another.
  if (value.kind !== 'list' || value.items.length === 0) {
    const found = value.kind === 'list' ? 'an empty list' : kindOf(value);
    throw configError(entry, `is ${found}; expected a list of rules, or no "${entry.key}" at all`);
  }
  if (value.items.length > maxRules) {
    throw configError(entry, `has ${value.items.length} rules; expected at most ${maxRules}`);
  }
  return value.items.map((item) => parseRule(item, kind));
}

function parseRule(item: Located, kind: RuleKind): Rule {
  const map = asMap(item);
  const fields = readFields(map, ruleFields);
  const name = ruleName(map, fields);
  const conditions = [...claimConditions(fields, kind), ...sanConditions(fields, kind), ...celConditions(fields)];
  const keys = keysOf(fields, kind);
  if (conditions.length === 0 && keys === undefined) {
    const known = `${ruleFields.claims.yaml}, san, san-type, key or cel`;
    throw configError(map, `has no condition, so it would be about everybody; expected ${known}`);
  }
  conditions.sort((a, b) => a.cost - b.cost);
  return { name, conditions, keys, message: ruleMessage(fields, kind) };
}

function ruleName(map: LocatedMap, fields: RuleFields): string {
  const entry = fields.get('name');
  const name = asText(entry);
  if (entry === undefined || name === '')
    throw configError(map, 'has no name; a rule needs one, which callers are told');
  if (/^[ !#-[\]-~]{1,80}$/.test(name) && name.trim() === name) return name;
  throw configError(entry, 'is not a name; expected 1 to 80 printable ASCII characters without " and \\');
}

function ruleMessage(fields: RuleFields, kind: RuleKind): string {
  const entry = fields.get('message');
  const message = asText(entry);
  if (entry === undefined || message === '') return '';
  if (kind === 'allow')
    throw configError(entry, 'is for deny rules: nobody is told of an allow rule that did not hold');
  if (message.length <= maxMessageChars && !/\p{Cc}/u.test(message)) return message;
  throw configError(
    entry,
    `is too long or has line breaks; expected one line of at most ${maxMessageChars} characters`,
  );
}

function claimConditions(fields: RuleFields, kind: RuleKind): Condition[] {
  const entry = fields.get('claims');
  return entry === undefined ? [] : asMap(entry.value).entries.map((claim) => claimCondition(claim, kind));
}

const sanTypes = ['email', 'uri', 'username'] as const;

function sanConditions(fields: RuleFields, kind: RuleKind): Condition[] {
  const san = fields.get('san');
  const type = fields.get('sanType');
  const conditions: Condition[] = [];
  if (san !== undefined) conditions.push(textCondition(san, kind, ({ san: { value } }) => value));
  if (type !== undefined) {
    namesThatMatch(type, kind, sanTypes);
    conditions.push(textCondition(type, kind, ({ san: { kind: found } }) => found));
  }
  return conditions;
}

function keysOf(fields: RuleFields, kind: RuleKind): Rule['keys'] {
  const entry = fields.get('key');
  return entry === undefined ? undefined : new Set(namesThatMatch(entry, kind, keyAlgorithmNames));
}

/** The known names that a condition is about. Throws AppError STARTUP when there is none: it would never hold. */
function namesThatMatch<Name extends string>(entry: LocatedEntry, kind: RuleKind, known: readonly Name[]): Name[] {
  const { test, title } = textMatcher(entry, kind);
  const names = known.filter((name) => test(name) === 'match');
  if (names.length === 0) throw configError(entry, `is ${title}, which is none of ${known.join(', ')}`);
  return names;
}

function celConditions(fields: RuleFields): Condition[] {
  const entry = fields.get('cel');
  if (entry === undefined) return [];
  const source = asText(entry);
  if (source.trim() === '') throw configError(entry, 'is empty; expected a CEL expression');
  return [{ title: `cel ${source.trim()}`, cost: 2, test: located(entry, () => celTest(source)) }];
}
