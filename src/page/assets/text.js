/**
 * Strangers' text made visible: what cannot be seen or would move other text is spelt out, and characters outside ASCII,
 * among them the look-alikes of Latin letters, are marked with their number and script.
 */

const hidden =
  /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800\u3164\uFFA0]|(?! )\p{Zs}/u;
const scripts = [
  'Cyrillic',
  'Greek',
  'Armenian',
  'Hebrew',
  'Arabic',
  'Cherokee',
  'Han',
  'Hiragana',
  'Katakana',
  'Hangul',
  'Latin',
];

const names = new Map([
  [0x00, 'NULL'],
  [0x09, 'TAB'],
  [0x0a, 'LINE FEED'],
  [0x0d, 'CARRIAGE RETURN'],
  [0x1b, 'ESCAPE'],
  [0xa0, 'NO-BREAK SPACE'],
  [0xad, 'SOFT HYPHEN'],
  [0x200b, 'ZERO WIDTH SPACE'],
  [0x200c, 'ZERO WIDTH NON-JOINER'],
  [0x200d, 'ZERO WIDTH JOINER'],
  [0x200e, 'LEFT-TO-RIGHT MARK'],
  [0x200f, 'RIGHT-TO-LEFT MARK'],
  [0x202a, 'LEFT-TO-RIGHT EMBEDDING'],
  [0x202b, 'RIGHT-TO-LEFT EMBEDDING'],
  [0x202c, 'POP DIRECTIONAL FORMATTING'],
  [0x202d, 'LEFT-TO-RIGHT OVERRIDE'],
  [0x202e, 'RIGHT-TO-LEFT OVERRIDE'],
  [0x2066, 'LEFT-TO-RIGHT ISOLATE'],
  [0x2067, 'RIGHT-TO-LEFT ISOLATE'],
  [0x2068, 'FIRST STRONG ISOLATE'],
  [0x2069, 'POP DIRECTIONAL ISOLATE'],
  [0xfeff, 'ZERO WIDTH NO-BREAK SPACE'],
]);

/** @param {string} character */
function codePoint(character) {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}

/**
 * Splits text into what is shown as it is, what is spelt out, and what is marked.
 * @param {string} text
 * @returns {{ kind: 'plain' | 'hidden' | 'foreign', text: string, title: string }[]}
 */
export function visible(text) {
  /** @type {{ kind: 'plain' | 'hidden' | 'foreign', text: string, title: string }[]} */
  const parts = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const last = parts.at(-1);
    if (hidden.test(character)) {
      parts.push({
        kind: 'hidden',
        text: codePoint(character),
        title: names.get(code) ?? 'a character that cannot be seen',
      });
    } else if (code < 0x7f || character === '…') {
      if (last?.kind === 'plain') last.text += character;
      else parts.push({ kind: 'plain', text: character, title: '' });
    } else {
      const script = scripts.find((name) => new RegExp(`\\p{Script=${name}}`, 'u').test(character));
      parts.push({ kind: 'foreign', text: character, title: `${codePoint(character)}${script ? `, ${script}` : ''}` });
    }
  }
  return parts;
}

/**
 * An element with the text made visible, shown from left to right whatever is in it. Line feeds of our own lists stay
 * outside: give one line.
 * @param {string} text
 */
export function textElement(text) {
  const element = document.createElement('bdi');
  element.className = 'value';
  for (const part of visible(text)) {
    if (part.kind === 'plain') {
      appendBreakable(element, part.text);
      continue;
    }
    const span = document.createElement('span');
    span.className = part.kind;
    span.textContent = part.text;
    span.title = part.title;
    element.append(span);
  }
  return element;
}

/**
 * Long addresses break after a slash or an at sign rather than in a word. What is copied is the text alone.
 * @param {HTMLElement} element @param {string} text
 */
function appendBreakable(element, text) {
  for (const [i, piece] of text.split(/(?<=[^/:][/@])(?=[^/])/).entries()) {
    if (i > 0) element.append(document.createElement('wbr'));
    element.append(piece);
  }
}

/**
 * What a reader should know about a text; undefined when it is plain ASCII.
 * @param {string} text
 */
export function warningOf(text) {
  const parts = visible(text);
  const hiddenParts = parts.filter(({ kind }) => kind === 'hidden');
  const foreign = parts.filter(({ kind }) => kind === 'foreign');
  const sentences = [];
  if (hiddenParts.length > 0) {
    const listed = [...new Set(hiddenParts.map(({ text: code, title }) => `${code} ${title}`))];
    sentences.push(`It holds characters that cannot be seen or that reorder text: ${few(listed)}.`);
  }
  if (foreign.length > 0) {
    const listed = [...new Set(foreign.map(({ text: character, title }) => `${character} (${title})`))];
    sentences.push(`It holds characters outside ASCII, which may look like others: ${few(listed)}.`);
  }
  return sentences.length === 0 ? undefined : sentences.join(' ');
}

/** @param {string[]} items */
function few(items) {
  return items.length <= 6 ? items.join(', ') : `${items.slice(0, 6).join(', ')} and ${items.length - 6} more`;
}
