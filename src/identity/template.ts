import { AppError } from '../errors.js';
import { quote } from './quote.js';
import { type Branch, type Expression, parseTemplate, type Segment } from './template-parse.js';

/**
 * The value of a claim by its path: undefined when there is none, null when it is there but says nothing (JSON null).
 * May throw AppError CLAIM_INVALID for a claim that has no text form.
 */
export type ClaimLookup = (path: readonly string[]) => string | null | undefined;

/** A claim template compiled at load. */
export interface Template {
  readonly source: string;
  /** Throws AppError CLAIM_MISSING naming the claim and the template. */
  readonly render: (lookup: ClaimLookup) => string;
}

/**
 * Compiles one template of ci-issuer-metadata. Without `{{` the text is the name of a claim; with it, it is the subset
 * of Go's text/template that Fulcio's configurations use: fields, `index .`, `if`/`else if`/`else`/`end`, `eq`, `ne`,
 * `and`, `or`, `not`, string literals, parentheses, comments and trim markers. A field that is missing is an error
 * (Go's missingkey=error); `index` of a missing key is ''. Throws TemplateError for everything else.
 */
export function compileTemplate(source: string): Template {
  if (!source.includes('{{')) return { source, render: (lookup) => claimByName(source, lookup) };
  const segments = parseTemplate(source);
  return { source, render: (lookup) => renderSegments(segments, { source, lookup }) };
}

interface Scope {
  readonly source: string;
  readonly lookup: ClaimLookup;
}

/** A null claim leaves an extension out: GitLab's ci_config_sha is null for a pipeline of another project. */
function claimByName(name: string, lookup: ClaimLookup): string {
  const value = lookup([name]);
  if (value === undefined) {
    throw new AppError(
      'CLAIM_MISSING',
      `the token has no claim ${quote(name)} and the configuration has no default for it`,
    );
  }
  return value ?? '';
}

function renderSegments(segments: readonly Segment[], scope: Scope): string {
  let text = '';
  for (const segment of segments) {
    if (segment.kind === 'text') text += segment.text;
    else if (segment.kind === 'print') text += String(evaluate(segment.expression, scope));
    else text += renderIf(segment.branches, scope);
  }
  return text;
}

function renderIf(branches: readonly Branch[], scope: Scope): string {
  for (const { condition, body } of branches) {
    if (condition === undefined || truth(evaluate(condition, scope))) return renderSegments(body, scope);
  }
  return '';
}

type Value = string | boolean;

/** Go's notion: an empty string is false. */
const truth = (value: Value): boolean => value !== '' && value !== false;

type Evaluate = (args: readonly Expression[], scope: Scope) => Value;

const functions: Record<Extract<Expression, { kind: 'call' }>['name'], Evaluate> = {
  eq: (args, scope) => {
    const [first, ...rest] = args.map((arg) => evaluate(arg, scope));
    return rest.includes(first ?? '');
  },
  ne: (args, scope) => {
    const [first, second] = args.map((arg) => evaluate(arg, scope));
    return first !== second;
  },
  and: (args, scope) => firstWhere(args, scope, (value) => !truth(value)),
  or: (args, scope) => firstWhere(args, scope, truth),
  not: (args, scope) => args.every((arg) => !truth(evaluate(arg, scope))),
};

/** The first value that decides, else the last one; later arguments are not evaluated, as in Go. */
function firstWhere(args: readonly Expression[], scope: Scope, decides: (value: Value) => boolean): Value {
  let value: Value = '';
  for (const arg of args) {
    value = evaluate(arg, scope);
    if (decides(value)) return value;
  }
  return value;
}

function evaluate(expression: Expression, scope: Scope): Value {
  if (expression.kind === 'literal') return expression.text;
  if (expression.kind === 'index') return scope.lookup(expression.path) ?? '';
  if (expression.kind === 'call') return functions[expression.name](expression.args, scope);
  const value = scope.lookup(expression.path);
  if (value === undefined || value === null) {
    throw new AppError(
      'CLAIM_MISSING',
      `the token has no claim ${quote(expression.path.join('.'))}, which the template ${quote(scope.source)} needs`,
    );
  }
  return value;
}
