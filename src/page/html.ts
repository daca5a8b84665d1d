/** HTML that is written down here; everything put into it is escaped unless it is Html itself. */
export class Html {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

type Part = string | number | Html | undefined | readonly (Html | undefined)[];

/** A tagged template: strings and numbers in it become text, Html stays, undefined is nothing, lists are joined. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  const text = strings.map((literal, i) => literal + (i < parts.length ? partText(parts[i]) : ''));
  return new Html(text.join(''));
}

function partText(part: Part): string {
  if (part === undefined) return '';
  if (part instanceof Html) return part.toString();
  if (typeof part === 'object') return part.map((one) => one?.toString() ?? '').join('');
  return escapeText(String(part));
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text safe in elements and quoted attributes; control and bidi characters, which could hide or reorder it, are spelt out. */
export function escapeText(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) =>
      character === '\n' ? '\n' : codePoint(character),
    )
    .replace(/[&<>"']/g, (character) => entities[character] ?? '');
}

function codePoint(character: string): string {
  return `[U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`;
}
