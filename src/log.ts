import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

/** The server's logger: JSON lines (`prod`) or readable lines (`dev`), on standard output. */
export function createLogger(type: 'dev' | 'prod', level: string): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  if (type === 'prod') return pino(options);
  return pino(
    options,
    pretty({ colorize: process.stdout.isTTY === true, sync: true, singleLine: true, ignore: 'pid,hostname' }),
  );
}
