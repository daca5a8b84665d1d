import type { KeyAlgorithmName } from '../proof/key-algorithms.js';
import type { PolicySubject, Verdict } from './verdict.js';

/** One thing that must hold for a rule. */
export interface Condition {
  /** For people: `claim ref: glob "refs/tags/*"`. */
  readonly title: string;
  /** How much it costs, for the order of tests: 0 for a comparison, 1 for a pattern, 2 for an expression. */
  readonly cost: number;
  readonly test: (subject: PolicySubject) => Verdict;
}

/** A named rule, compiled; it holds when all its conditions do. */
export interface Rule {
  readonly name: string;
  /** Cheapest first. */
  readonly conditions: readonly Condition[];
  /** Kinds of client key that it is about; undefined for all. */
  readonly keys: ReadonlySet<KeyAlgorithmName> | undefined;
  /** What a caller whom it denies is told; '' for nothing of its own. */
  readonly message: string;
}

export type PolicyDefault = 'allow' | 'deny';

/** The rules of one issuer, those of its provider template among them. */
export interface RuleSet {
  readonly allow: readonly Rule[];
  readonly deny: readonly Rule[];
  /** For an issuer without allow rules; undefined leaves it to the instance. */
  readonly fallback: PolicyDefault | undefined;
}

/** What the rules say of a request. */
export interface Outcome {
  readonly allowed: boolean;
  /** The rule that decided; undefined when none did. */
  readonly rule: Rule | undefined;
}

/** An outcome for every kind of key, and another one for those that rules name. */
export interface Decision {
  readonly outcome: Outcome;
  readonly byKey: ReadonlyMap<KeyAlgorithmName, Outcome>;
}

const noKeys: ReadonlyMap<KeyAlgorithmName, Outcome> = new Map();
const denied: Outcome = { allowed: false, rule: undefined };
const allowed: Outcome = { allowed: true, rule: undefined };

/**
 * Deny rules first: one that holds, or that cannot be decided, denies. Then some allow rule has to hold, if there are any;
 * without them the default decides.
 */
export function decide(rules: RuleSet, instanceDefault: PolicyDefault, subject: PolicySubject): Decision {
  const byKey = new Map<KeyAlgorithmName, Outcome>();
  for (const rule of rules.deny) {
    if (verdictOf(rule, subject) === 'differs') continue;
    if (rule.keys === undefined) return { outcome: { allowed: false, rule }, byKey: noKeys };
    addMissing(byKey, rule.keys, { allowed: false, rule });
  }
  if (rules.allow.length === 0) {
    return { outcome: (rules.fallback ?? instanceDefault) === 'allow' ? allowed : denied, byKey };
  }
  for (const rule of rules.allow) {
    if (verdictOf(rule, subject) !== 'match') continue;
    if (rule.keys === undefined) return { outcome: { allowed: true, rule }, byKey };
    addMissing(byKey, rule.keys, { allowed: true, rule });
  }
  return { outcome: denied, byKey };
}

function addMissing(
  byKey: Map<KeyAlgorithmName, Outcome>,
  keys: ReadonlySet<KeyAlgorithmName>,
  outcome: Outcome,
): void {
  for (const key of keys) if (!byKey.has(key)) byKey.set(key, outcome);
}

/** What a rule's conditions say together, the kind of key left out: one that differs settles it. */
export function verdictOf(rule: Rule, subject: PolicySubject): Verdict {
  let verdict: Verdict = 'match';
  for (const { test } of rule.conditions) {
    const one = test(subject);
    if (one === 'differs') return 'differs';
    if (one === 'undecided') verdict = 'undecided';
  }
  return verdict;
}
