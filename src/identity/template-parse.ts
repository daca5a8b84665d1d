import { type Lexeme, lexTemplate, TemplateError } from './template-lex.js';

const functionNames = ['eq', 'ne', 'and', 'or', 'not'] as const;
type FunctionName = (typeof functionNames)[number];

export type Expression =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'field'; readonly path: readonly string[] }
  | { readonly kind: 'index'; readonly path: readonly string[] }
  | { readonly kind: 'call'; readonly name: FunctionName; readonly args: readonly Expression[] };

/** One arm of an `if`; the last may have no condition (`else`). */
export interface Branch {
  readonly condition: Expression | undefined;
  readonly body: readonly Segment[];
}

export type Segment =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly expression: Expression }
  | { readonly kind: 'if'; readonly branches: readonly Branch[] };

/** How many arguments each function takes: at least, at most. */
const arity: Record<FunctionName, readonly [number, number]> = {
  eq: [2, 16],
  ne: [2, 2],
  and: [1, 16],
  or: [1, 16],
  not: [1, 1],
};

/** Parses the text/template subset that `compileTemplate` describes; throws TemplateError with a position. */
export function parseTemplate(source: string): readonly Segment[] {
  const reader = new Reader(lexTemplate(source), source.length);
  const segments = parseSegments(reader, 0);
  if (!reader.done) throw reader.unexpected(`{{${reader.peekText(1)}}} without an open {{if}}`);
  return segments;
}

const maxDepth = 16;

function parseSegments(reader: Reader, depth: number): Segment[] {
  if (depth > maxDepth) throw reader.unexpected(`an if nested more than ${maxDepth} levels deep`);
  const segments: Segment[] = [];
  while (!reader.done) {
    const text = reader.take('text');
    if (text !== undefined) {
      segments.push({ kind: 'text', text: text.text });
      continue;
    }
    const word = reader.peekWord(1);
    if (word === 'else' || word === 'end') return segments;
    reader.expect('open', '{{');
    if (word === 'if') segments.push({ kind: 'if', branches: parseIf(reader, depth) });
    else {
      segments.push({ kind: 'print', expression: parsePipeline(reader) });
      reader.expect('close', '}}');
    }
  }
  return segments;
}

/** From the word `if` to after the matching `{{end}}`. */
function parseIf(reader: Reader, depth: number): Branch[] {
  const branches: Branch[] = [];
  let more = true;
  while (more) {
    let condition: Expression | undefined;
    if (reader.peekWord(0) === 'if') {
      reader.expect('word', 'if');
      condition = parsePipeline(reader);
    }
    reader.expect('close', '}}');
    branches.push({ condition, body: parseSegments(reader, depth + 1) });
    if (reader.done) throw reader.unexpected('the end of the template; expected {{end}}');
    reader.expect('open', '{{');
    const word = reader.expect('word', 'else or end');
    more = word.text === 'else';
    if (more && condition === undefined) throw new TemplateError('a second {{else}} in one {{if}}', word.position);
  }
  reader.expect('close', '}}');
  return branches;
}

function parsePipeline(reader: Reader): Expression {
  const word = reader.take('word');
  if (word === undefined) return parseOperand(reader);
  const args = parseArguments(reader);
  if (word.text === 'index') return indexOf(args, word);
  const name = functionNames.find((known) => known === word.text);
  if (name === undefined) {
    throw new TemplateError(
      `"${word.text}" is not supported; expected a field, a string, index, ${functionNames.join(', ')}, if, else or end`,
      word.position,
    );
  }
  const [least, most] = arity[name];
  if (args.length < least || args.length > most) {
    throw new TemplateError(`${name} has ${args.length} arguments; expected at least ${least}`, word.position);
  }
  return { kind: 'call', name, args: args.map((arg) => asValue(arg, word)) };
}

const dot = '.';
type Argument = Expression | typeof dot;

function parseArguments(reader: Reader): Argument[] {
  const args: Argument[] = [];
  while (!reader.done && reader.peekKind() !== 'close' && reader.peekKind() !== ')') {
    args.push(reader.take('dot') === undefined ? parseOperand(reader) : dot);
  }
  return args;
}

function asValue(arg: Argument, at: Lexeme): Expression {
  if (arg === dot) throw new TemplateError(`"." alone is not a value; expected a field such as .sub`, at.position);
  return arg;
}

function indexOf(args: readonly Argument[], at: Lexeme): Expression {
  const [of, ...keys] = args;
  const path = keys.flatMap((key) => (key !== dot && key.kind === 'literal' ? [key.text] : []));
  if (of !== dot || path.length === 0 || path.length !== keys.length) {
    throw new TemplateError('index is supported only as: index . "claim"', at.position);
  }
  return { kind: 'index', path };
}

function parseOperand(reader: Reader): Expression {
  const field = reader.take('field');
  if (field !== undefined) return { kind: 'field', path: field.text.slice(1).split('.') };
  const literal = reader.take('string');
  if (literal !== undefined) return { kind: 'literal', text: literal.text };
  if (reader.take('(') !== undefined) {
    const inner = reader.nested(() => parsePipeline(reader));
    reader.expect(')', ')');
    return inner;
  }
  throw reader.unexpected(`"${reader.peekText(0)}"; expected a field such as .sub, a string or (`);
}

/** A cursor over the lexemes. */
class Reader {
  readonly #lexemes: readonly Lexeme[];
  readonly #length: number;
  #next = 0;
  #depth = 0;

  constructor(lexemes: readonly Lexeme[], length: number) {
    this.#lexemes = lexemes;
    this.#length = length;
  }

  get done(): boolean {
    return this.#next >= this.#lexemes.length;
  }

  peekKind(): Lexeme['kind'] | undefined {
    return this.#lexemes[this.#next]?.kind;
  }

  /** Text of the lexeme `ahead` places on; '' past the end. */
  peekText(ahead: number): string {
    return this.#lexemes[this.#next + ahead]?.text ?? '';
  }

  peekWord(ahead: number): string {
    return this.#lexemes[this.#next + ahead]?.kind === 'word' ? this.peekText(ahead) : '';
  }

  take(kind: Lexeme['kind']): Lexeme | undefined {
    const lexeme = this.#lexemes[this.#next];
    if (lexeme?.kind !== kind) return undefined;
    this.#next++;
    return lexeme;
  }

  expect(kind: Lexeme['kind'], what: string): Lexeme {
    const lexeme = this.take(kind);
    if (lexeme === undefined) {
      throw this.unexpected(`${this.done ? 'the end of the template' : `"${this.peekText(0)}"`}; expected ${what}`);
    }
    return lexeme;
  }

  nested<T>(parse: () => T): T {
    if (++this.#depth > maxDepth) throw this.unexpected(`parentheses nested more than ${maxDepth} levels deep`);
    const result = parse();
    this.#depth--;
    return result;
  }

  unexpected(what: string): TemplateError {
    return new TemplateError(`unexpected ${what}`, this.#lexemes[this.#next]?.position ?? this.#length);
  }
}
