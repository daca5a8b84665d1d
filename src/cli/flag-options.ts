import { type Command, Option } from 'commander';
import { environmentName, type FlagName, flagNames, flagRow } from '../config/flags.js';

/** Declares every row of the flag table on a command, aliases included, in Go's notation (`--flag v`, `--flag=v`). */
export function declareServeFlags(command: Command): void {
  for (const name of flagNames) {
    command.addOption(optionOf(name, name));
    for (const alias of flagRow(name).aliases ?? []) command.addOption(optionOf(name, alias).hideHelp());
  }
}

function optionOf(name: FlagName, spelling: string): Option {
  const { kind, help, fallback } = flagRow(name);
  const value = kind === 'boolean' ? '[true|false]' : `<${kind}>`;
  const notes = [fallback === undefined ? '' : `default ${fallback}`, environmentName(spelling)].filter(
    (n) => n !== '',
  );
  return new Option(`--${spelling} ${value}`, `${help} (${notes.join('; ')})`);
}

/** The flags that were written on the command line, by their spelling; a bare boolean is "true". */
export function flagsGiven(command: Command): Record<string, string> {
  const given: Record<string, string> = {};
  for (const option of command.options) {
    if (command.getOptionValueSource(option.attributeName()) !== 'cli') continue;
    const value: unknown = command.getOptionValue(option.attributeName());
    given[option.name()] = value === true ? 'true' : String(value);
  }
  return given;
}
