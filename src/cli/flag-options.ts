import { type Command, Option } from 'commander';
import { environmentName, type FlagName, flagNames, flagRow } from '../config/flags.js';

/** Declares rows of the flag table on a command, aliases included, in Go's notation (`--flag v`, `--flag=v`). */
export function declareServeFlags(command: Command, names: readonly FlagName[] = flagNames): void {
  for (const name of names) {
    command.addOption(optionOf(name, name));
    for (const alias of flagRow(name).aliases ?? []) command.addOption(optionOf(name, alias).hideHelp());
  }
}

function optionOf(name: FlagName, spelling: string): Option {
  const { kind, help, fallback, repeatable } = flagRow(name);
  const value = kind === 'boolean' ? '[true|false]' : `<${kind}>`;
  const notes = [fallback === undefined ? '' : `default ${fallback}`, environmentName(spelling)].filter(
    (n) => n !== '',
  );
  const option = new Option(`--${spelling} ${value}`, `${help} (${notes.join('; ')})`);
  return repeatable === true ? option.argParser<readonly string[]>((text, before = []) => [...before, text]) : option;
}

/** The flags that were written on the command line, by their spelling, but for repeatable ones; a bare boolean is "true". */
export function flagsGiven(command: Command): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of valuesGiven(command)) {
    if (!Array.isArray(value)) given[name] = value === true ? 'true' : String(value);
  }
  return given;
}

/** The repeatable flags that were written on the command line: their values in order. */
export function repeatedFlagsGiven(command: Command): Record<string, readonly string[]> {
  const given: Record<string, readonly string[]> = {};
  for (const [name, value] of valuesGiven(command)) {
    if (Array.isArray(value)) given[name] = value.map(String);
  }
  return given;
}

function valuesGiven(command: Command): (readonly [string, unknown])[] {
  return command.options
    .filter((option) => command.getOptionValueSource(option.attributeName()) === 'cli')
    .map((option) => [option.name(), command.getOptionValue(option.attributeName())] as const);
}
