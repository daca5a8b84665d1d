import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { AppError, messageOf } from '../errors.js';
import { environmentName, type FlagName, type FlagValue, type FlagValues, flagNames, flagRow } from './flags.js';
import { didYouMean } from './suggestion.js';

const nameOrAlias = new Map<string, FlagName>(
  flagNames.flatMap((name) => [name, ...(flagRow(name).aliases ?? [])].map((spelling) => [spelling, name] as const)),
);

/** Flags by their spelling; a repeatable one may have several values. */
export type FlagsGiven = Readonly<Record<string, string | readonly string[]>>;

/**
 * Merges the three sources of settings: command line over environment over `--config` file.
 *
 * `cli` holds flag spellings as the user wrote them. An empty environment variable counts as unset, as in Fulcio; one
 * variable is one value, also for a repeatable flag.
 * Throws AppError STARTUP naming the file and the key that is wrong.
 */
export function collectFlags(
  cli: FlagsGiven,
  environment: Readonly<Record<string, string | undefined>>,
  configFile: string | undefined,
): FlagValues {
  return { ...fromFile(configFile), ...fromEnvironment(environment), ...fromCommandLine(cli) };
}

function fromCommandLine(cli: FlagsGiven): FlagValues {
  const values: Partial<Record<FlagName, FlagValue>> = {};
  for (const [spelling, value] of Object.entries(cli)) {
    const name = nameOrAlias.get(spelling);
    if (name === undefined) throw new AppError('STARTUP', `unknown flag --${spelling}`);
    values[name] = flagValue(name, value, `--${spelling}`);
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
    const source = `${key} in ${file}`;
    const repeated = flagRow(name).repeatable === true && isTextList(value);
    values[name] = repeated ? flagValue(name, value, source) : { value: scalar(file, key, value), source };
  }
  return values;
}

function flagValue(name: FlagName, given: string | readonly string[], source: string): FlagValue {
  if (typeof given === 'string') return { value: given, source };
  const [first, ...more] = given;
  if (first === undefined) throw new AppError('STARTUP', `${source} is an empty list; expected at least one value`);
  if (more.length === 0) return { value: first, source };
  if (flagRow(name).repeatable !== true)
    throw new AppError('STARTUP', `${source} takes one value; found ${given.length}`);
  return { value: first, source, values: given };
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
  if (isTextList(value)) return value.join(',');
  throw new AppError('STARTUP', `${file}: ${key}: expected a string, a number, a boolean or a list of strings`);
}

function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
