import { createRequire } from 'node:module';
import { type Logger, pino } from 'pino';

/**
 * The server's logger: JSON lines (`prod`) or readable lines (`dev`), on standard output, or on standard error where standard
 * output is for something else. JSON lines are written some at a time, at the latest after 100 ms and at the end of the
 * process: one write a line costs as much as encoding a certificate.
 */
export function createLogger(type: 'dev' | 'prod', level: string, stream: 'stdout' | 'stderr' = 'stdout'): Logger {
  const dest = stream === 'stdout' ? 1 : 2;
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  if (type === 'prod')
    return pino(options, pino.destination({ dest, sync: false, minLength: 4096, periodicFlush: 100 }));
  // Loaded only when it is wanted: servers write JSON.
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
  return pino(
    options,
    pretty({
      destination: dest,
      colorize: process[stream].isTTY === true,
      sync: true,
      singleLine: true,
      ignore: 'pid,hostname',
    }),
  );
}
