import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { projectDir } from './command.js';
import type { CaFiles } from './openssl-ca.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** A certificate authority under test. */
export interface CaServer extends RunningServer {
  readonly url: string;
  readonly grpcPort: number;
  /** Where Mayfly wrote its trust files. */
  readonly trustDir: string;
}

/** How to start the certificate authority. */
export interface CaServerOptions {
  readonly dir: string;
  /** The identity configuration, YAML. */
  readonly config: string;
  /** With these, `--ca fileca`; without, the data directory's own CA. */
  readonly files?: CaFiles;
  /** Whether certificates carry an SCT of the embedded log; without, `--ct-log-url=""`. */
  readonly log: boolean;
  /** Serves gRPC on the HTTP port. */
  readonly onePort?: boolean;
  /** Further flags of `serve`. */
  readonly flags?: readonly string[];
  /** Further variables of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly grpcTls?: { readonly certificatePath: string; readonly keyPath: string };
}

/** An identity configuration whose tokens from this issuer identify a person by email address. */
export function emailIssuerConfig(...issuerUrls: string[]): string {
  const issuers = issuerUrls.map(
    (url) => `  "${url}":\n    issuer-url: "${url}"\n    client-id: sigstore\n    type: email\n`,
  );
  return `oidc-issuers:\n${issuers.join('')}`;
}

/** Starts a built Mayfly (`npm run build` first) and waits until it is ready. */
export async function startCa(options: CaServerOptions): Promise<CaServer> {
  const [port, otherPort, metricsPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const grpcPort = options.onePort ? port : otherPort;
  const url = `http://127.0.0.1:${port}`;
  const configPath = join(options.dir, 'config.yaml');
  const dataDir = join(options.dir, 'data');
  await mkdir(options.dir, { recursive: true });
  await writeFile(configPath, options.config);

  const args = ['serve', '--host', '127.0.0.1', '--grpc-host', '127.0.0.1', '--config-path', configPath];
  args.push('--port', `${port}`, '--grpc-port', `${grpcPort}`, '--metrics-port', `${metricsPort}`);
  args.push('--data-dir', dataDir, '--public-url', url);
  if (!options.log) args.push('--ct-log-url=');
  args.push(...(options.flags ?? []));
  if (options.grpcTls !== undefined) {
    args.push('--grpc-tls-certificate', options.grpcTls.certificatePath, '--grpc-tls-key', options.grpcTls.keyPath);
  }
  if (options.files !== undefined) {
    const { chainPath, keyPath, password } = options.files;
    args.push('--ca', 'fileca', '--fileca-cert', chainPath, '--fileca-key', keyPath, '--fileca-key-passwd', password);
  }

  const server = await startServer({
    name: 'mayfly',
    command: process.execPath,
    args: [resolve(projectDir, 'dist/main.js'), ...args],
    cwd: options.dir,
    readyUrl: `${url}/readyz`,
    ...(options.env && { env: options.env }),
  });
  return { ...server, url, grpcPort, trustDir: join(dataDir, 'trust') };
}
