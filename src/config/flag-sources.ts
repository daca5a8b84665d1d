import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { AppError, messageOf } from '../errors.js';
import { environmentName, type FlagName, type FlagValue, type FlagValues, flagNames, flagRow } from './flags.js';
import { didYouMean } from './suggestion.js';

const nameOrAlias = new Map<string, FlagName>(
  flagNames.flatMap((name) => [name, ...(flagRow(name).aliases ?? [])].map((spelling) => [spelling, name] as const)),
);

/**
 * Merges the three sources of settings: command line over environment over `--config` file.
 *
 * `cli` holds flag spellings as the user wrote them. An empty environment variable counts as unset, as in Fulcio.
 * Throws AppError STARTUP naming the file and the key that is wrong.
 */
export function collectFlags(
  cli: Readonly<Record<string, string>>,
  environment: Readonly<Record<string, string | undefined>>,
  configFile: string | undefined,
): FlagValues {
  return { ...fromFile(configFile), ...fromEnvironment(environment), ...fromCommandLine(cli) };
}

function fromCommandLine(cli: Readonly<Record<string, string>>): FlagValues {
  const values: Partial<Record<FlagName, FlagValue>> = {};
  for (const [spelling, value] of Object.entries(cli)) {
    const name = nameOrAlias.get(spelling);
    if (name === undefined) throw new AppError('STARTUP', `unknown flag --${spelling}`);
    values[name] = { value, source: `--${spelling}` };
  }
  return values;
}

function fromEnvironment(environment: Readonly<Record<string, string | undefined>>): FlagValues {
  const values: Partial<Record<FlagName, FlagValue>> = {};
  for (const [spelling, name] of nameOrAlias) {
    const variable = environmentName(spelling);
    const value = environment[variable];
    if (value !== undefined && value !== '') values[name] = { value, source: variable };
  }
  return values;
}

function fromFile(file: string | undefined): FlagValues {
  if (file === undefined) return {};
  const document = readDocument(file);
  const values: Partial<Record<FlagName, FlagValue>> = {};
  for (const [key, value] of Object.entries(document)) {
    const name = nameOrAlias.get(key);
    if (name === undefined) {
      throw new AppError('STARTUP', `${file}: unknown setting "${key}"${didYouMean(key, [...nameOrAlias.keys()])}`);
    }
    values[name] = { value: scalar(file, key, value), source: `${key} in ${file}` };
  }
  return values;
}

function readDocument(file: string): Record<string, unknown> {
  let document: unknown;
  try {
    document = parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new AppError('STARTUP', `cannot read the settings file ${file}: ${messageOf(error)}`, { cause: error });
  }
  if (document === null || document === undefined) return {};
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw new AppError('STARTUP', `${file}: expected a mapping of settings, found ${typeof document}`);
  }
  return document as Record<string, unknown>;
}

function scalar(file: string, key: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value.join(',');
  throw new AppError('STARTUP', `${file}: ${key}: expected a string, a number, a boolean or a list of strings`);
}
