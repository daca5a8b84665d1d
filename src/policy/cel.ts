import { type ASTNode, Environment } from '@marcbachmann/cel-js';
import { regexTest, type TextTest } from './text-pattern.js';
import { PolicyError, type PolicySubject, type Verdict } from './verdict.js';

const limits = { maxAstNodes: 200, maxDepth: 24, maxListElements: 100, maxMapEntries: 20, maxCallArguments: 4 };
const maxExpressionChars = 2000;

/** What an expression may call. Left out is what can grow text or lists, and `matches`, which backtracks. */
const functions: ReadonlySet<string> = new Set(['has', 'size', 'type', 'dyn', 'string', 'int', 'double', 'bool']);
const methods: ReadonlySet<string> = new Set(['size', 'startsWith', 'endsWith', 'contains']);
const loops: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one']);
const fullMatch = 'fullMatch';

/**
 * A CEL expression over `claims`, `san` and `san_type` as a test; parsed and type-checked here. Its cost is bounded by its
 * size, by one level of loops and by what `celClaims` gives. An error while it runs, such as a missing claim, is `undecided`.
 * Throws PolicyError.
 */
export function celTest(source: string): (subject: PolicySubject) => Verdict {
  if (source.length > maxExpressionChars) {
    throw new PolicyError(`the expression has ${source.length} characters; expected at most ${maxExpressionChars}`);
  }
  const patterns = new Map<string, TextTest>();
  const environment = new Environment({ limits })
    .registerVariable('claims', 'map<string, dyn>')
    .registerVariable('san', 'string')
    .registerVariable('san_type', 'string')
    .registerFunction(`${fullMatch}(string, string): bool`, (text: string, pattern: string) => {
      const verdict = patterns.get(pattern)?.(text) ?? 'undecided';
      if (verdict === 'undecided') throw new PolicyError('the text is too long for the pattern');
      return verdict === 'match';
    });
  const expression = parse(environment, source);
  checkNode(expression.ast, patterns, false);
  const checked = expression.check();
  if (!checked.valid) throw unusable(checked.error);
  if (checked.type !== 'bool' && checked.type !== 'dyn') {
    throw new PolicyError(`the expression gives ${checked.type ?? 'nothing'}; expected true or false`);
  }
  return (subject) => {
    const claims = subject.celClaims();
    if (claims === undefined) return 'undecided';
    try {
      const result: unknown = expression({ claims, san: subject.san.value, san_type: subject.san.kind });
      if (typeof result !== 'boolean') return 'undecided';
      return result ? 'match' : 'differs';
    } catch {
      return 'undecided';
    }
  };
}

function parse(environment: Environment, source: string) {
  try {
    return environment.parse(source);
  } catch (error) {
    throw unusable(error);
  }
}

function unusable(error: unknown): PolicyError {
  // The rest of the library's message is the source with an arrow under it.
  const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
  return new PolicyError(`the expression cannot be used: ${reason}`, { cause: error });
}

function checkNode(node: ASTNode, patterns: Map<string, TextTest>, inLoop: boolean): void {
  if (node.op === 'call') checkCall(node.args[0], node.args[1], patterns, inLoop);
  if (node.op === 'rcall') checkMethod(node.args[0], inLoop);
  const looping = inLoop || (node.op === 'rcall' && loops.has(node.args[0]));
  for (const child of childrenOf(node.args)) checkNode(child, patterns, looping);
}

function checkCall(name: string, given: readonly ASTNode[], patterns: Map<string, TextTest>, inLoop: boolean): void {
  if (name === fullMatch) {
    if (inLoop) throw new PolicyError(`has ${fullMatch} in a loop; expected a condition any: {regex: …} on the claim`);
    const pattern = given[1];
    if (pattern?.op !== 'value' || typeof pattern.args !== 'string') {
      throw new PolicyError(`${fullMatch} has no pattern in quotes; expected ${fullMatch}(text, "pattern")`);
    }
    patterns.set(pattern.args, regexTest(pattern.args, false));
  } else if (!functions.has(name)) {
    throw new PolicyError(`the function ${name} is not to be had; expected ${[...functions, fullMatch].join(', ')}`);
  }
}

function checkMethod(name: string, inLoop: boolean): void {
  if (loops.has(name)) {
    if (inLoop)
      throw new PolicyError(`has ${name} within another loop; expected one level, so that its cost is bounded`);
  } else if (name === 'matches') {
    throw new PolicyError(
      `has .matches(); expected ${fullMatch}(text, "pattern"), anchored at both ends, linear in time`,
    );
  } else if (!methods.has(name)) {
    throw new PolicyError(`the method ${name} is not to be had; expected ${[...methods, ...loops].join(', ')}`);
  }
}

/** The nodes among a node's operands, which are nodes, names, literals and lists of them, by operator. */
function childrenOf(operands: unknown): readonly ASTNode[] {
  if (Array.isArray(operands)) return operands.flatMap(childrenOf);
  return isNode(operands) ? [operands] : [];
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
}
