/** A template that is outside the supported subset; `position` is the offset in its source, from 0. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  readonly position: number;

  constructor(message: string, position: number) {
    super(`${message} (at character ${position + 1})`);
    this.position = position;
  }
}

export interface Lexeme {
  readonly kind: 'text' | 'open' | 'close' | 'field' | 'dot' | 'word' | 'string' | '(' | ')';
  /** For a string: its value. */
  readonly text: string;
  readonly position: number;
}

/** Tried in this order; each is sticky. Go allows any Unicode letter in an identifier. */
const actionLexemes: readonly (readonly [Lexeme['kind'] | 'space', RegExp])[] = [
  ['space', /[ \t\r\n]+/y],
  ['field', /(?:\.[\p{L}_][\p{L}\p{Nd}_]*)+/uy],
  ['dot', /\.(?![\p{L}\p{Nd}_.])/uy],
  ['word', /[\p{L}_][\p{L}\p{Nd}_]*/uy],
  ['string', /"(?:[^"\\\n]|\\.)*"|`[^`]*`/y],
  ['(', /\(/y],
  [')', /\)/y],
];

/** Splits a template into text and the lexemes of its actions, trim markers applied and comments dropped. */
export function lexTemplate(source: string): Lexeme[] {
  const lexemes: Lexeme[] = [];
  let position = 0;
  let trimNext = false;
  while (position < source.length) {
    const open = source.indexOf('{{', position);
    const end = open === -1 ? source.length : open;
    const trimPrevious = open !== -1 && /^\{\{-[ \t\r\n]/.test(source.slice(open, open + 4));
    let text = source.slice(position, end);
    if (trimNext) text = text.trimStart();
    if (trimPrevious) text = text.trimEnd();
    if (text !== '') lexemes.push({ kind: 'text', text, position });
    if (open === -1) break;
    const action = lexAction(source, open, open + (trimPrevious ? 3 : 2));
    lexemes.push(...action.lexemes);
    trimNext = action.trimNext;
    position = action.end;
  }
  return lexemes;
}

interface Action {
  readonly lexemes: readonly Lexeme[];
  readonly trimNext: boolean;
  /** Offset after the closing braces. */
  readonly end: number;
}

const comment = /[ \t\r\n]*\/\*[\s\S]*?\*\/([ \t\r\n]+-)?\}\}/y;
const close = /([ \t\r\n]-)?\}\}/y;

function lexAction(source: string, open: number, start: number): Action {
  comment.lastIndex = start;
  const commented = comment.exec(source);
  if (commented !== null) return { lexemes: [], trimNext: commented[1] !== undefined, end: comment.lastIndex };
  const lexemes: Lexeme[] = [{ kind: 'open', text: '{{', position: open }];
  let position = start;
  while (position < source.length) {
    close.lastIndex = position;
    const closed = close.exec(source);
    if (closed !== null) {
      lexemes.push({ kind: 'close', text: '}}', position });
      return { lexemes, trimNext: closed[1] !== undefined, end: close.lastIndex };
    }
    position = lexOne(source, position, lexemes);
  }
  throw new TemplateError('{{ is never closed; expected }}', open);
}

function lexOne(source: string, position: number, lexemes: Lexeme[]): number {
  for (const [kind, pattern] of actionLexemes) {
    pattern.lastIndex = position;
    const found = pattern.exec(source)?.[0];
    if (found === undefined) continue;
    if (kind !== 'space') lexemes.push({ kind, text: kind === 'string' ? unquote(found, position) : found, position });
    return pattern.lastIndex;
  }
  throw new TemplateError(
    `unexpected ${JSON.stringify(source[position])}; expected a field such as .sub, a string, a function or }}`,
    position,
  );
}

function unquote(literal: string, position: number): string {
  if (literal.startsWith('`')) return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    throw new TemplateError(`the string ${literal.slice(0, 40)} has an escape that is not supported`, position);
  }
}
