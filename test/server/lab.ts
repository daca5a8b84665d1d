import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { AppError } from '../../src/errors.js';
import { type RunningServer, startServer } from '../../src/server/start.js';

/** An empty directory of the test's own. */
export const temporary = (): string => mkdtempSync(join(tmpdir(), 'mayfly-server-'));

/** An identity configuration with one issuer of type email, as a file. */
export function emailConfig(dir: string, ...issuers: string[]): string {
  const file = join(dir, 'identity.json');
  writeFileSync(file, emailConfigText(...issuers));
  return file;
}

export function emailConfigText(...issuers: string[]): string {
  return JSON.stringify({
    OIDCIssuers: Object.fromEntries(
      issuers.map((url) => [url, { IssuerURL: url, ClientID: 'sigstore', Type: 'email' }]),
    ),
  });
}

export const loopback = {
  host: '127.0.0.1',
  port: '0',
  'grpc-host': '127.0.0.1',
  'grpc-port': '0',
  'metrics-port': '0',
} as const;

/** Starts a server on free ports; what it logs goes to `lines`. */
export function start(flags: Record<string, string>, lines: string[] = []): Promise<RunningServer> {
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  return startServer({ ...loopback, ...flags }, { environment: {}, logger });
}

/** The sentence a start fails with; the server is closed if it starts after all. */
export async function startFailure(flags: Record<string, string>): Promise<string> {
  try {
    const server = await start(flags);
    await server.close();
    return 'it started';
  } catch (error) {
    if (error instanceof AppError && error.code === 'STARTUP') return error.detail;
    throw error;
  }
}

/** Waits until `holds`, at most `ms`. */
export async function eventually(holds: () => boolean | Promise<boolean>, ms = 5000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`it did not hold within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
