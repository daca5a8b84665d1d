import { join } from 'node:path';
import type { CaServer } from './ca-server.js';
import { type Finished, mustRun, run, toolPath } from './command.js';
import type { Rekor } from './rekor.js';
import type { TimestampAuthority } from './timestamp-authority.js';

const startTime = '2024-01-01T00:00:00Z';

/** The two files a client is configured with. */
export interface TrustFiles {
  readonly trustedRoot: string;
  readonly signingConfig: string;
}

/** What cosign's `create` commands make the two files from. */
export interface TrustSources {
  readonly ca: CaServer;
  readonly caChainPath: string;
  /** The CT log's public key, PEM; without it the trusted root names no log. */
  readonly ctLogKeyPath?: string;
  readonly tsa?: TimestampAuthority;
  readonly rekor?: Rekor;
  readonly issuerUrl: string;
}

const cosign = () => toolPath('bin/cosign');

/** Has cosign itself write a trusted root and a signing config into `dir`. */
export async function createTrustFiles(dir: string, from: TrustSources): Promise<TrustFiles> {
  const { ca, tsa, rekor } = from;
  const files = {
    trustedRoot: join(dir, 'made.trusted_root.json'),
    signingConfig: join(dir, 'made.signing_config.json'),
  };
  const service = `api-version=1,start-time=${startTime},operator=interop`;
  const root = [`--fulcio=url=${ca.url},certificate-chain=${from.caChainPath}`];
  const signing = [`--fulcio=url=${ca.url},${service}`, `--oidc-provider=url=${from.issuerUrl},${service}`];
  if (from.ctLogKeyPath !== undefined) {
    root.push(`--ctfe=url=${ca.url}/ctlog,public-key=${from.ctLogKeyPath},start-time=${startTime}`);
  }
  if (tsa !== undefined) {
    root.push(`--tsa=url=${tsa.url}/api/v1/timestamp,certificate-chain=${tsa.chainPath}`);
    signing.push(`--tsa=url=${tsa.url}/api/v1/timestamp,${service}`, '--tsa-config=EXACT:1');
  }
  if (rekor !== undefined) {
    root.push(
      `--rekor=url=${rekor.url},public-key=${rekor.publicKeyPath},start-time=${startTime},origin=${rekor.origin}`,
    );
    const v2 = `api-version=2,start-time=${startTime},operator=interop`;
    signing.push(`--rekor=url=${rekor.url},${v2}`, '--rekor-config=ANY');
  }
  await mustRun(cosign(), ['trusted-root', 'create', ...root, '--out', files.trustedRoot], { cwd: dir });
  await mustRun(cosign(), ['signing-config', 'create', ...signing, '--out', files.signingConfig], { cwd: dir });
  return files;
}

/** Signs a file with cosign's own key and a token; gives the bundle's path, throws when cosign fails. */
export async function signBlob(dir: string, trust: TrustFiles, token: string, file: string): Promise<string> {
  const bundle = `${file}.bundle.json`;
  const trustArgs = ['--signing-config', trust.signingConfig, '--trusted-root', trust.trustedRoot];
  await mustRun(cosign(), ['sign-blob', '--yes', '--identity-token', token, ...trustArgs, '--bundle', bundle, file], {
    cwd: dir,
  });
  return bundle;
}

/** What a verifier expects of a bundle. */
export interface Expected {
  readonly identity: string;
  readonly issuerUrl: string;
  /** Whether the bundle has a timestamp; without one the certificate must still be valid now. */
  readonly timestamped: boolean;
  /** Whether the certificate has an SCT. */
  readonly logged: boolean;
}

/** Verifies a bundle with cosign and gives what it printed and its exit code. */
export function verifyBlob(
  dir: string,
  trustedRoot: string,
  bundle: string,
  file: string,
  expected: Expected,
  moreArgs: readonly string[] = [],
): Promise<Finished> {
  const args = ['--certificate-identity', expected.identity, '--certificate-oidc-issuer', expected.issuerUrl];
  if (expected.timestamped) args.push('--use-signed-timestamps');
  if (!expected.logged) args.push('--insecure-ignore-sct');
  const trustArgs = ['--bundle', bundle, '--trusted-root', trustedRoot, '--insecure-ignore-tlog'];
  return run(cosign(), ['verify-blob', ...trustArgs, ...args, ...moreArgs, file], { cwd: dir });
}
