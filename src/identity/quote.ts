const maxQuotedChars = 96;

/**
 * Untrusted text for a message: in double quotes, at most 96 characters, everything but printable ASCII escaped, so
 * that it can neither forge a log line nor flood one.
 */
export function quote(text: string): string {
  const cut = text.length > maxQuotedChars ? text.slice(0, maxQuotedChars) : text;
  const printable = cut.replace(/["\\]|[^\x20-\x7e]/g, (char) =>
    char === '"' || char === '\\' ? `\\${char}` : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return text.length > maxQuotedChars ? `"${printable}…" (${text.length} characters)` : `"${printable}"`;
}

/** What a JSON value is, for a message: a quoted string, a number or boolean as it is, else its kind. */
export function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (typeof value === 'string') return quote(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return Array.isArray(value) ? 'an array' : 'an object';
}
