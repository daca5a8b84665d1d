import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { messageOf } from '../errors.js';
import { type LoginOptions, loginWithBrowser, loginWithDevice } from './login.js';
import { fetchIssuers } from './request-api.js';
import { type ObtainedCertificate, obtainCertificate } from './request-certificate.js';
import { CommandError, type CommandIo, processIo } from './request-io.js';
import { keyAlgorithms, parseKeyAlgorithm } from './request-key.js';
import { type OutputFile, refuseExisting, writeOutputs } from './request-output.js';
import { certificateText, checksText, styleOf } from './request-report.js';
import { type FoundToken, type TokenOptions, tokenFromEnvironment, tokenFromFlags } from './request-token.js';
import { type ClientTrust, loadTrust } from './request-trust.js';

/** The options of `mayfly request`, as commander gives them. */
export interface RequestOptions extends TokenOptions {
  readonly url: string;
  readonly oidcIssuer?: string;
  readonly oidcClientId: string;
  readonly oidcClientSecretFile?: string;
  readonly oidcRedirectPort?: string;
  readonly oidcDeviceFlow?: boolean;
  readonly keyAlgorithm: string;
  readonly csr?: boolean;
  readonly challenge?: string;
  readonly trustedRoot?: string;
  readonly ctLogKey?: string;
  readonly ctLogUrl?: string;
  readonly allowMissingSct?: boolean;
  readonly outputCertificate: string;
  readonly outputChain: string;
  readonly outputKey: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** `mayfly request`: a client of any certificate authority that speaks Fulcio's API. */
export function registerRequest(program: Command, done: (code: number) => void): void {
  program
    .command('request')
    .description('ask a certificate authority for a certificate and check what it gives')
    .requiredOption('--url <url>', 'base URL of the certificate authority')
    .option('--identity-token <token>', 'the identity token, a file that holds it, or - for standard input')
    .option('--identity-token-file <file>', 'file with the identity token')
    .option('--identity-token-stdin', 'read the identity token from standard input')
    .option('--oidc-issuer <url>', 'log in at this OpenID Connect provider, in a browser')
    .option('--oidc-client-id <id>', 'client to log in as; also the audience to ask GitHub Actions for', 'sigstore')
    .option('--oidc-client-secret-file <file>', 'file with the client secret, for a provider that wants one')
    .option('--oidc-redirect-port <port>', 'loopback port for the answer of the browser (default: a free one)')
    .option('--oidc-device-flow', 'log in with a code on another device instead')
    .option('--key-algorithm <name>', `key to make: ${Object.keys(keyAlgorithms).join(', ')}`, 'ecdsa-p256')
    .option('--csr', 'prove possession of the key by a certificate signing request')
    .option('--challenge <claim>', 'claim to sign as proof of possession (default: a verified email, else sub)')
    .option('--trusted-root <file>', 'trusted root (JSON) to check with, instead of what the server says of itself')
    .option('--ct-log-key <file>', 'PEM public key of the transparency log, to check the SCT with')
    .option('--ct-log-url <url>', 'where the transparency log is read (default: /ctlog below --url)')
    .option('--allow-missing-sct', 'accept a certificate that no transparency log has promised to show')
    .option('--output-certificate <file>', 'where the certificate goes (PEM)', 'certificate.pem')
    .option('--output-chain <file>', 'where the CA chain goes (PEM, issuing CA first)', 'chain.pem')
    .option('--output-key <file>', 'where the private key goes (PEM PKCS#8, mode 0600)', 'key.pem')
    .option('--force', 'overwrite the output files')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', environmentHelp)
    .action(async (options: RequestOptions) => done(await requestCommand(options, processIo())));
}

const environmentHelp = `
Without a token or --oidc-issuer, the token is taken from MAYFLY_ID_TOKEN, SIGSTORE_ID_TOKEN (GitLab) or GitHub
Actions. Exit codes: 0 a good certificate, 1 refused or a check failed, 2 a wrong call.
`;

/** Runs `mayfly request` and returns its exit code: 0, 1 (refused, or a check failed) or 2 (a wrong call). */
export async function requestCommand(options: RequestOptions, io: CommandIo): Promise<number> {
  try {
    return await run(options, io);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    io.err(`mayfly request: ${error.message}\n`);
    return error.exitCode;
  }
}

async function run(options: RequestOptions, io: CommandIo): Promise<number> {
  const force = options.force ?? false;
  const keyAlgorithm = parseKeyAlgorithm(options.keyAlgorithm);
  await refuseExisting(outputPaths(options), force);
  const trust = await loadTrust(options, io);
  const { token, source } = await tokenFor(options, io);
  if (!options.json) io.err(`identity token from ${source}\n`);
  const obtained = await obtainCertificate({ ...options, token, keyAlgorithm, csr: options.csr ?? false, trust }, io);
  const good = obtained.checks.every(({ status }) => status !== 'failed');
  // A certificate that failed a check is shown, not handed out.
  const files = good ? outputFiles(options, obtained) : [];
  await writeOutputs(files, force);
  io.out((options.json ? jsonReport : textReport)(obtained, trust, files, io));
  if (!good) io.err('mayfly request: the certificate failed a check, so no file was written\n');
  return good ? 0 : 1;
}

async function tokenFor(options: RequestOptions, io: CommandIo): Promise<FoundToken> {
  const given = await tokenFromFlags(options, io);
  if (given !== undefined) return given;
  if (options.oidcIssuer !== undefined) {
    const login = options.oidcDeviceFlow ? loginWithDevice : loginWithBrowser;
    return { token: await login(await loginOptions(options, options.oidcIssuer), io), source: options.oidcIssuer };
  }
  const found = await tokenFromEnvironment(options.oidcClientId, io);
  if (found !== undefined) return found;
  const issuers = await fetchIssuers(options.url, io.fetch);
  const accepted = issuers.length === 0 ? '' : `; ${options.url} takes tokens of ${issuers.join(', ')}`;
  throw new CommandError(2, `no identity token: give --identity-token, or log in with --oidc-issuer${accepted}`);
}

async function loginOptions(options: RequestOptions, issuer: string): Promise<LoginOptions> {
  const { oidcClientId, oidcClientSecretFile, oidcRedirectPort } = options;
  return {
    issuer,
    clientId: oidcClientId,
    ...(oidcClientSecretFile === undefined ? {} : { clientSecret: await readSecret(oidcClientSecretFile) }),
    ...(oidcRedirectPort === undefined ? {} : { redirectPort: parsePort('--oidc-redirect-port', oidcRedirectPort) }),
  };
}

async function readSecret(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new CommandError(2, `--oidc-client-secret-file cannot be read: ${messageOf(cause)}`, cause);
  });
  return text.trim();
}

/** A TCP port, 0 included; throws CommandError 2 naming the flag. */
export function parsePort(flag: string, text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65535) return port;
  throw new CommandError(2, `${flag} is "${text}"; expected a port from 0 to 65535`);
}

function outputPaths(options: RequestOptions): readonly Pick<OutputFile, 'flag' | 'path'>[] {
  return [
    { flag: '--output-certificate', path: options.outputCertificate },
    { flag: '--output-chain', path: options.outputChain },
    { flag: '--output-key', path: options.outputKey },
  ];
}

/** The key first: a certificate without its key is of no use, a key without a certificate of no harm. */
function outputFiles(options: RequestOptions, obtained: ObtainedCertificate): readonly OutputFile[] {
  return [
    { flag: '--output-key', path: options.outputKey, content: obtained.key.privatePem, mode: 0o600 },
    {
      flag: '--output-certificate',
      path: options.outputCertificate,
      content: obtained.certificatePem,
      mode: 0o644,
    },
    { flag: '--output-chain', path: options.outputChain, content: obtained.chainPem, mode: 0o644 },
  ];
}

type Report = (
  obtained: ObtainedCertificate,
  trust: ClientTrust,
  files: readonly OutputFile[],
  io: Pick<CommandIo, 'colour'>,
) => string;

const textReport: Report = ({ summary, checks }, trust, files, io) => {
  const style = styleOf(io.colour);
  const caveat = trust.independent ? '' : ' (give --trusted-root to check it against something else)';
  const written = files.map(({ path }) => `  ${path}\n`).join('');
  return [
    `Certificate\n${certificateText(summary, style)}`,
    `Checked against ${trust.source}${caveat}\n${checksText(checks, style)}`,
    ...(written === '' ? [] : [`Written\n${written}`]),
  ].join('\n');
};

const jsonReport: Report = ({ summary, checks, certificatePem, chainPem }, trust, files) => {
  const paths = Object.fromEntries(files.map(({ flag, path }) => [flag.replace('--output-', ''), path]));
  const trustedBy = { source: trust.source, independent: trust.independent };
  const report = { ...summary, trust: trustedBy, checks, files: paths, certificatePem, chainPem };
  return `${JSON.stringify(report, null, 2)}\n`;
};
