import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toolPath } from './command.js';
import { freePort, type RunningServer, startServer, untilPortFree } from './server-process.js';

// timestamp-server serves its metrics there on every interface, has no flag for it, and ends when the port is taken.
const metricsPort = 2112;

/** A running RFC 3161 timestamp authority with a chain of its own. */
export interface TimestampAuthority extends RunningServer {
  /** Its base URL; clients that want the API's address add /api/v1/timestamp. */
  readonly url: string;
  /** Its chain as PEM, leaf first. */
  readonly chainPath: string;
}

/** Starts Sigstore's timestamp-server with a key in memory; `dir` receives its chain. */
export async function startTimestampAuthority(dir: string): Promise<TimestampAuthority> {
  await untilPortFree(metricsPort, 'timestamp-server');
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer({
    name: 'timestamp-server',
    command: toolPath('bin/timestamp-server'),
    args: [
      'serve',
      '--host',
      '127.0.0.1',
      '--port',
      `${port}`,
      '--timestamp-signer',
      'memory',
      '--disable-ntp-monitoring',
    ],
    cwd: dir,
    readyUrl: `${url}/ping`,
  });
  const chainPath = join(dir, 'tsa.pem');
  const chain = await fetch(`${url}/api/v1/timestamp/certchain`);
  await writeFile(chainPath, await chain.text());
  return { ...server, url, chainPath };
}
