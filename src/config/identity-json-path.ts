const step = /\.([A-Za-z_][\w-]*)|\[\s*(?:'([^'\\]+)'|"([^"\\]+)")\s*\]/y;

/**
 * The object keys a JSON path names: `$.a.b`, `$['a']`, `$["a"]` and mixtures (the part of RFC 9535 that selects one
 * member at each step). Undefined for anything else.
 */
export function parseJsonPath(text: string): readonly string[] | undefined {
  if (!text.startsWith('$')) return undefined;
  const path: string[] = [];
  step.lastIndex = 1;
  while (step.lastIndex < text.length) {
    const match = step.exec(text);
    const key = match?.[1] ?? match?.[2] ?? match?.[3];
    if (key === undefined) return undefined;
    path.push(key);
  }
  return path.length === 0 ? undefined : path;
}
