const maxDepth = 64;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Parses JSON of which there can be only one reading: valid UTF-8, no byte order mark, no key twice in one object, at
 * most 64 levels deep. Takes bytes or text; throws SyntaxError whose message may be shown to the sender.
 */
export function parseStrictJson(input: Uint8Array | string): unknown {
  const text = typeof input === 'string' ? input : decodeUtf8(input);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // V8's message quotes the input, which may be a token.
    throw new SyntaxError(text.trim() === '' ? 'it is empty' : 'it has a syntax error');
  }
  refuseDuplicateKeys(text);
  return value;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new SyntaxError('it is not valid UTF-8');
  }
}

/** One pass over text that JSON.parse has accepted, so that only strings and brackets need a look. */
function refuseDuplicateKeys(text: string): void {
  const objects: (Set<string> | undefined)[] = [];
  let keys: Set<string> | undefined;
  let keyExpected = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x22 /* " */) {
      const start = i;
      i = endOfString(text, start);
      if (keyExpected && keys !== undefined) addKey(keys, text.slice(start, i + 1));
      keyExpected = false;
    } else if (char === 0x7b /* { */ || char === 0x5b /* [ */) {
      objects.push(keys);
      if (objects.length > maxDepth) throw new SyntaxError(`it is nested more than ${maxDepth} levels deep`);
      keyExpected = char === 0x7b;
      keys = keyExpected ? new Set() : undefined;
    } else if (char === 0x7d /* } */ || char === 0x5d /* ] */) {
      keys = objects.pop();
      keyExpected = false;
    } else if (char === 0x2c /* , */) {
      keyExpected = keys !== undefined;
    }
  }
}

/** The quote that ends the string begun at `start`: the next one behind an even number of backslashes. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end;
    while (text.charCodeAt(before - 1) === 0x5c) before--;
    if ((end - before) % 2 === 0) return end;
  }
  return text.length;
}

function addKey(keys: Set<string>, quoted: string): void {
  const key = quoted.includes('\\') ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
  if (keys.has(key)) throw new SyntaxError(`it has the key ${JSON.stringify(key.slice(0, 64))} twice in one object`);
  keys.add(key);
}
