import { compileTemplate, type Template } from '../identity/template.js';
import { TemplateError } from '../identity/template-lex.js';
import { type ExtensionName, extensionNames, identityExtensions } from '../x509/extensions.js';
import { asMap, asText, providerFields, readFields } from './identity-fields.js';
import { parseRules } from './identity-policy.js';
import { configError, type LocatedEntry, where } from './identity-tree.js';
import type { CiProvider } from './identity-types.js';

/** One entry of `ci-issuer-metadata`. Throws AppError STARTUP; what is only odd goes to `warnings`. */
export function parseProvider(entry: LocatedEntry, warnings: string[]): CiProvider {
  const fields = readFields(asMap(entry.value), providerFields);
  const san = fields.get('san');
  if (san === undefined || asText(san) === '') {
    throw configError(entry, `has no ${providerFields.san.yaml}; every certificate needs one`);
  }
  const defaults = parseValues(fields.get('defaults'));
  const fixed = parseValues(fields.get('fixed'));
  for (const name of defaults.keys()) {
    if (fixed.has(name)) throw configError(entry, `"${name}" is a default and a fixed template value; expected one`);
  }
  return {
    name: entry.key,
    defaults,
    fixed,
    extensions: parseExtensions(fields.get('extensions'), warnings),
    san: compile(san),
    policy: parseRules(fields),
  };
}

function parseValues(entry: LocatedEntry | undefined): Map<string, string> {
  if (entry === undefined) return new Map();
  return new Map(asMap(entry.value).entries.map((value) => [value.key, asText(value)]));
}

/** The certificate takes these from the token itself; Fulcio too ignores a template for them. */
const fromToken: ReadonlySet<ExtensionName> = new Set<ExtensionName>(['issuer', 'issuerV2', 'tokenSubject']);

function parseExtensions(entry: LocatedEntry | undefined, warnings: string[]): CiProvider['extensions'] {
  if (entry === undefined) return [];
  const fields = readFields(asMap(entry.value), identityExtensions);
  return extensionNames.flatMap((name) => {
    const template = fields.get(name);
    if (template === undefined || asText(template) === '') return [];
    if (!fromToken.has(name)) return [{ name, template: compile(template) }];
    warnings.push(`${where(template)}is ignored: issuer and subject come from the token`);
    return [];
  });
}

function compile(entry: LocatedEntry): Template {
  try {
    return compileTemplate(asText(entry));
  } catch (error) {
    if (error instanceof TemplateError)
      throw configError(entry, `the template cannot be used: ${error.message}`, error);
    throw error;
  }
}
