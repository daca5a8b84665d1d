import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parseIdentityConfig } from '../config/identity.js';
import type { IssuerConfig } from '../config/identity-types.js';
import { AppError, messageOf } from '../errors.js';
import { createFetcher } from '../identity/fetcher.js';
import { type Finding, inspectToken } from '../identity/inspect.js';
import { createIssuers, type Issuers, type ListedIssuer } from '../identity/issuers.js';
import type { KeyStatus } from '../identity/keys.js';
import type { Principal } from '../identity/principal.js';
import { proxyFromEnv } from '../identity/proxy.js';
import { quote } from '../identity/quote.js';
import { extensionNames, identityExtensions, sigstoreArc } from '../x509/extensions.js';
import { describeRules } from './policy-rules.js';

interface CheckOptions {
  readonly config: string;
  readonly offline?: boolean;
  readonly allowPrivateIssuers?: boolean;
}

const marks: Readonly<Record<Finding['result'], string>> = { passed: 'ok  ', failed: 'FAIL', skipped: '--  ' };

/** `mayfly check config FILE` and `mayfly check token [TOKEN]`: what the server would make of them, without a server. */
export function registerCheck(program: Command, done: (code: number) => void): void {
  const check = program.command('check').description('say how an identity configuration or a token is understood');
  check
    .command('config')
    .description('print what an identity configuration says and whether each issuer answers')
    .argument('<file>', 'identity configuration, YAML or JSON')
    .option('--offline', 'do not ask the issuers for their keys')
    .action(async (file: string, options: { offline?: boolean }) => done(await checkConfig(file, options)));
  check
    .command('token')
    .description('print every check a token passes or fails, and what a certificate for it would say')
    .argument('[token]', 'the token, a file that holds it, or - for standard input', '-')
    .requiredOption('--config <file>', 'identity configuration to check it against', '/etc/fulcio-config/config.yaml')
    .option('--offline', 'do not ask the issuer for its keys; the signature is then not checked')
    .option('--allow-private-issuers', 'as the flag of serve')
    .action(async (token: string, options: CheckOptions) => done(await checkToken(token, options)));
}

async function checkConfig(file: string, options: { offline?: boolean }): Promise<number> {
  const issuers = load(file);
  for (const warning of issuers.config.warnings) print(`warning: ${warning}`);
  if (options.offline !== true) await issuers.warmUp();
  const states = new Map(issuers.status().map((status) => [status.issuer, status]));
  const listed = issuers.list();
  print(`${file}: ${listed.length} issuer${listed.length === 1 ? '' : 's'}`);
  const { config } = issuers;
  const policies = new Map([...config.issuers, ...config.metaIssuers].map(({ url, policy }) => [url, policy]));
  for (const issuer of listed) {
    print(describeIssuer(issuer, states.get(issuer.url), options.offline === true));
    print(describePolicy(policies.get(issuer.url)));
  }
  const unreachable = [...states.values()].filter((status) => status.state === 'failed').length;
  if (unreachable > 0) print(`${unreachable} of them cannot be reached now; the file itself is in order`);
  return unreachable > 0 ? 1 : 0;
}

function describeIssuer(issuer: ListedIssuer, status: KeyStatus | undefined, offline: boolean): string {
  const lines = [
    `\n  ${issuer.url}`,
    `    type      ${issuer.issuerType}${issuer.wildcard ? ', any issuer whose URL matches' : ''}`,
    `    audience  ${issuer.audience}`,
    `    proof     the client signs claim "${issuer.challengeClaim}"`,
  ];
  if (issuer.subjectDomain !== '') lines.push(`    domain    ${issuer.subjectDomain}`);
  if (issuer.spiffeTrustDomain !== '') lines.push(`    domain    ${issuer.spiffeTrustDomain}`);
  if (issuer.skipEmailVerification) lines.push('    note      email addresses are taken unverified');
  lines.push(`    keys      ${describeKeys(issuer, status, offline)}`);
  return lines.join('\n');
}

function describePolicy(policy: IssuerConfig['policy'] | undefined): string {
  const lines = policy === undefined ? [] : describeRules(policy);
  return lines.map((line, i) => `    ${i === 0 ? 'policy' : '      '}    ${line}`).join('\n');
}

function describeKeys(issuer: ListedIssuer, status: KeyStatus | undefined, offline: boolean): string {
  if (issuer.wildcard) return 'asked for when the first token of such an issuer comes';
  if (status === undefined || status.state === 'unknown') return offline ? 'not asked (--offline)' : 'unknown';
  if (status.state === 'failed') return `NOT REACHABLE: ${status.failure ?? 'unknown reason'}`;
  return `${status.keyCount} ${status.state === 'file' ? 'from the jwks-file' : 'fetched'}`;
}

async function checkToken(token: string, options: CheckOptions): Promise<number> {
  const issuers = load(options.config, options.allowPrivateIssuers === true);
  const askIssuer = options.offline !== true;
  const { findings, principal } = await inspectToken(readToken(token), issuers, Date.now, askIssuer);
  for (const { check, result, detail } of findings) print(`${marks[result]}  ${check.padEnd(10)} ${detail}`);
  if (principal !== undefined) print(describePrincipal(principal));
  const failed = findings.filter((finding) => finding.result === 'failed').length;
  print(`\n${verdict(failed, askIssuer)}`);
  return failed === 0 ? 0 : 1;
}

function verdict(failed: number, signatureChecked: boolean): string {
  if (failed > 0) return 'The server would refuse this token.';
  if (!signatureChecked) return 'The server would accept this token, if its signature is good.';
  return 'The server would accept this token.';
}

function describePrincipal({ san, extensions, challenge }: Principal): string {
  const rows = extensionNames.flatMap((name) => {
    const value = extensions[name];
    const row = identityExtensions[name];
    return value === undefined || value === '' ? [] : [`    ${sigstoreArc}.${row.arc} ${row.yaml}: ${quote(value)}`];
  });
  return [
    '\n  The certificate would say',
    `    SAN ${san.kind}: ${quote(san.value)}`,
    ...rows,
    `  The client has to sign ${quote(challenge.value)} (claim ${challenge.claim})`,
  ].join('\n');
}

function load(file: string, allowPrivateIssuers = false): Issuers {
  const fetcher = createFetcher({ proxyFor: proxyFromEnv(process.env) });
  const text = readText(file, 'identity configuration');
  return createIssuers(parseIdentityConfig(text, file), { fetcher, clock: Date.now, allowPrivateIssuers });
}

/** A JWT has two dots and no slash; anything else is taken for a file name. */
function readToken(given: string): string {
  if (given === '-') return readText('/dev/stdin', 'token');
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(given.trim()) ? given : readText(given, 'token');
}

function readText(path: string, what: string): string {
  try {
    return readFileSync(path === '/dev/stdin' ? 0 : path, 'utf8');
  } catch (error) {
    throw new AppError('STARTUP', `cannot read the ${what} ${path}: ${messageOf(error)}`, { cause: error });
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
