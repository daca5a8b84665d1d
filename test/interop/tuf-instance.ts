import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { type Finished, mustRun, projectDir } from './command.js';
import { openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { startRekor } from './rekor.js';

export const jane = 'jane@example.com';

const main = resolve(projectDir, 'dist/main.js');

/** A Mayfly with timestamps and a TUF repository. */
export interface TufInstance {
  readonly dir: string;
  readonly dataDir: string;
  readonly ca: CaServer;
  readonly issuer: OidcIssuer;
  readonly mirror: string;
  /** A copy of the root of the first day. */
  readonly firstRoot: string;
  /** The settings of the server that `mayfly trust …` needs. */
  readonly settings: readonly string[];
  /** Runs `mayfly trust …`. */
  trust(...args: string[]): Promise<Finished>;
  /** Runs `mayfly trust tuf …`. */
  tuf(...args: string[]): Promise<Finished>;
  close(): Promise<void>;
}

/** Starts one; `withRekor` has a Rekor 2 beside it, named by --trust-config. */
export async function startTufInstance(withRekor: boolean): Promise<TufInstance> {
  const lab = await openLab();
  try {
    // sigstore-python takes the identity of an unknown issuer's token from its sub.
    const accounts = [{ sub: jane, email: jane, email_verified: true }];
    const issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
    const services = join(lab.dir, 'services.yaml');
    await writeFile(services, withRekor ? await rekorSettings(lab) : '');
    const flags = ['--tsa', '--trust-config', services];
    const config = emailIssuerConfig(issuer.url);
    const ca = lab.keep(await startCa({ dir: lab.dir, config, log: true, flags }));
    const dataDir = join(lab.dir, 'data');
    const env = { MAYFLY_TUF_PASSPHRASE: 'only for this test' };
    const trust = (...args: string[]) =>
      mustRun(process.execPath, [main, 'trust', ...args, '--data-dir', dataDir], { cwd: lab.dir, env });
    await trust('tuf', 'init', '--root-keys', '3', '--root-threshold', '2');
    const firstRoot = join(lab.dir, 'first.root.json');
    await writeFile(firstRoot, await readFile(join(dataDir, 'tuf/1.root.json')));
    return {
      dir: lab.dir,
      dataDir,
      ca,
      issuer,
      mirror: `${ca.url}/tuf`,
      firstRoot,
      settings: ['--config-path', join(lab.dir, 'config.yaml'), '--trust-config', services],
      trust,
      tuf: (...args) => trust('tuf', ...args),
      close: () => lab.close(),
    };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function rekorSettings(lab: Awaited<ReturnType<typeof openLab>>): Promise<string> {
  const { url, publicKeyPath, origin } = lab.keep(await startRekor(lab.dir));
  const key = publicKeyPath.startsWith('/') ? publicKeyPath : join(lab.dir, publicKeyPath);
  return `rekor:\n  - url: ${url}\n    public-key: ${key}\n    api-version: 2\n    origin: ${origin}\n`;
}
