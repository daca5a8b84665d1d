import type { Condition, Rule, RuleSet } from '../policy/rules.js';
import { verdictOf } from '../policy/rules.js';
import type { PolicySubject, Verdict } from '../policy/verdict.js';

/** An issuer's rules as lines for an operator: each with its conditions. */
export function describeRules({ allow, deny, fallback }: RuleSet): string[] {
  return [
    ...deny.flatMap((rule) => describeRule('deny', rule)),
    ...allow.flatMap((rule) => describeRule('allow', rule)),
    describeDefault(allow.length, fallback),
  ];
}

function describeRule(kind: string, rule: Rule): string[] {
  const conditions = rule.conditions.map(({ title }) => title);
  return [`${kind} "${rule.name}"`, ...[...conditions, ...keyLine(rule)].map((line) => `    ${line}`)];
}

const keyLine = ({ keys }: Rule): string[] => (keys === undefined ? [] : [`key: ${[...keys].join(' | ')}`]);

function describeDefault(allowRules: number, fallback: RuleSet['fallback']): string {
  if (allowRules > 0) return 'all else is denied';
  return fallback === undefined ? 'all else as --policy-default says' : `all else: ${fallback} (policy-default)`;
}

const words: Readonly<Record<Verdict, string>> = {
  match: 'holds',
  differs: 'does not hold',
  undecided: 'cannot be decided',
};
const consequence = { allow: ', so it allows nothing', deny: ', so it denies' } as const;

/** What every rule, and every condition of it, says of one request. */
export function explainRules({ allow, deny }: RuleSet, subject: PolicySubject): string[] {
  const explain = (kind: 'allow' | 'deny', rule: Rule): string[] => [
    `${kind} "${rule.name}": ${ruleWords(kind, verdictOf(rule, subject))}`,
    ...rule.conditions.map((condition) => `    ${explainCondition(condition, subject)}`),
    ...keyLine(rule).map((line) => `    ${line}`),
  ];
  return [...deny.flatMap((rule) => explain('deny', rule)), ...allow.flatMap((rule) => explain('allow', rule))];
}

const ruleWords = (kind: 'allow' | 'deny', verdict: Verdict): string =>
  `${words[verdict]}${verdict === 'undecided' ? consequence[kind] : ''}`;

function explainCondition({ title, test }: Condition, subject: PolicySubject): string {
  const verdict = test(subject);
  const why = verdict === 'undecided' ? ' (the claim is missing, of another type, or cannot be tested)' : '';
  return `${title}: ${words[verdict]}${why}`;
}
