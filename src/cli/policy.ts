import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parseDuration } from '../config/duration.js';
import { type IdentityConfig, parseIdentityConfig } from '../config/identity.js';
import type { IssuerConfig } from '../config/identity-types.js';
import { opaUrl } from '../config/policy.js';
import { AppError, messageOf, toAppError } from '../errors.js';
import { toPrincipal } from '../identity/issuer-types.js';
import { quote } from '../identity/quote.js';
import { assumeVerified } from '../identity/token.js';
import { bySpecificity, patternOf } from '../identity/wildcard.js';
import { opaServer, type PolicyServer } from '../policy/opa.js';
import type { PolicyDefault } from '../policy/rules.js';
import { policySubject } from '../policy/subject.js';
import { createPolicy, type Policy, type PolicyRequest } from '../policy.js';
import { defaultKeyPolicy } from '../proof.js';
import { type PolicyCase, readCases } from './policy-cases.js';
import { explainRules } from './policy-rules.js';

interface TestOptions {
  readonly config: string;
  readonly policyDefault: string;
  readonly opaUrl?: string;
  readonly opaTimeout: string;
  readonly explain?: boolean;
  readonly json?: boolean;
}

/** How one case ended; the keys are those of --json. */
interface Result {
  readonly case: string;
  readonly issuer: string;
  readonly san: string;
  readonly key: string;
  readonly decision: 'allowed' | 'denied';
  /** The rule that decided; null when none did. */
  readonly rule: string | null;
  /** What the caller would be told; null when allowed. */
  readonly reason: string | null;
  readonly expected: 'allowed' | 'denied' | null;
  readonly passed: boolean;
  readonly explanation?: readonly string[];
}

/** Exit codes, for CI: every case as expected; some not; a file or an option that cannot be used. */
const exitCode = { passed: 0, failed: 1, unusable: 2 } as const;

/** `mayfly policy test FILE...`: what the rules of a configuration say of tokens and claims, without a server. */
export function registerPolicy(program: Command, done: (code: number) => void): void {
  const policy = program.command('policy').description('try the rules of an identity configuration');
  policy
    .command('test')
    .description(
      'print for tokens or files of claims whether they are allowed, and by which rule (exit code 0, 1 or 2)',
    )
    .argument('<file...>', 'token, or JSON or YAML with claims and perhaps key, expect, rule; - for standard input')
    .requiredOption('--config <file>', 'identity configuration with the rules', '/etc/fulcio-config/config.yaml')
    .option('--policy-default <allow|deny>', 'as the flag of serve', 'allow')
    .option('--opa-url <url>', 'as the flag of serve')
    .option('--opa-timeout <duration>', 'as the flag of serve', '500ms')
    .option('--explain', 'print what every rule says, condition by condition')
    .option('--json', 'print the results as JSON')
    .action(async (files: string[], options: TestOptions) => done(await testPolicy(files, options)));
}

async function testPolicy(files: readonly string[], options: TestOptions): Promise<number> {
  let server: PolicyServer | undefined;
  try {
    server = serverOf(options);
    const policy = policyOf(options, server);
    const config = parseIdentityConfig(readConfig(options.config), options.config);
    const results: Result[] = [];
    for (const each of files.flatMap(readCases)) results.push(await testCase(each, config, policy, options));
    print(options.json === true ? JSON.stringify(results, null, 2) : results.map(describe).join('\n'));
    return results.every(({ passed }) => passed) ? exitCode.passed : exitCode.failed;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    process.stderr.write(`mayfly: ${error.detail}\n`);
    return exitCode.unusable;
  } finally {
    server?.close();
  }
}

function serverOf({ opaUrl: url, opaTimeout }: TestOptions): PolicyServer | undefined {
  const timeoutMs = parseDuration(opaTimeout);
  if (timeoutMs === undefined || timeoutMs <= 0) {
    throw new AppError('STARTUP', `--opa-timeout is "${opaTimeout}"; expected a duration such as 500ms`);
  }
  return url === undefined ? undefined : opaServer({ url: opaUrl(url, '--opa-url'), timeoutMs });
}

function policyOf({ policyDefault }: TestOptions, server: PolicyServer | undefined): Policy {
  if (policyDefault !== 'allow' && policyDefault !== 'deny') {
    throw new AppError('STARTUP', `--policy-default is "${policyDefault}"; expected allow or deny`);
  }
  const fallback: PolicyDefault = policyDefault;
  const nothing = (): void => undefined;
  const deps = { keyPolicy: defaultKeyPolicy, server, logger: { warn: nothing }, count: nothing };
  return createPolicy({ fallback, dryRun: false }, deps);
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new AppError('STARTUP', `cannot read the identity configuration ${file}: ${messageOf(error)}`);
  }
}

async function testCase(
  each: PolicyCase,
  config: IdentityConfig,
  policy: Policy,
  options: TestOptions,
): Promise<Result> {
  const request = requestOf(each, config);
  const { issuer, principal, token } = request;
  const { decision, rule, reason } = await ask(policy, request, each);
  return {
    case: each.title,
    issuer: principal.issuer,
    san: principal.san.value,
    key: each.key,
    decision,
    rule: rule ?? null,
    reason: reason ?? null,
    expected: each.expect ?? null,
    passed: decision === (each.expect ?? 'allowed') && (each.rule === undefined || each.rule === rule),
    ...(options.explain === true
      ? { explanation: explainRules(issuer.policy, policySubject(token.claims, principal.san)) }
      : {}),
  };
}

/** The request as the server would have it, had it verified the token. Throws AppError STARTUP if it would refuse it. */
function requestOf({ title, token: raw }: PolicyCase, config: IdentityConfig): PolicyRequest {
  try {
    const issuer = matchIssuer(config, raw.issuer);
    const token = assumeVerified(raw);
    const principal = toPrincipal(token, { config: issuer });
    return { requestId: 'policy-test', clientAddress: undefined, token, issuer, principal };
  } catch (error) {
    const { detail } = toAppError(error);
    throw new AppError('STARTUP', `${title}: the server would refuse this token before any rule is asked: ${detail}`);
  }
}

/** Like a server's `match`, but needs no keys. */
function matchIssuer({ issuers, metaIssuers }: IdentityConfig, iss: string): IssuerConfig {
  const wildcards = [...metaIssuers].sort((a, b) => bySpecificity(a.url, b.url));
  const found = issuers.find(({ url }) => url === iss) ?? wildcards.find(({ url }) => patternOf(url).test(iss));
  if (found !== undefined) return found;
  throw new AppError('ISSUER_UNKNOWN', `issuer ${quote(iss)} is not in the identity configuration`);
}

async function ask(policy: Policy, request: PolicyRequest, { key }: PolicyCase) {
  try {
    const { keyPolicy, rule } = await policy.admit(request);
    const refusal = keyPolicy.refused?.get(key);
    if (refusal !== undefined) return { decision: 'denied', rule: refusal.rule, reason: refusal.detail } as const;
    return { decision: 'allowed', rule: rule(key), reason: undefined } as const;
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'POLICY_DENIED') throw error;
    return { decision: 'denied', rule: error.rule, reason: error.detail } as const;
  }
}

function describe(result: Result): string {
  const mark = result.passed ? 'ok  ' : 'FAIL';
  const by = result.rule === null ? 'by no rule' : `by rule "${result.rule}"`;
  const expected = result.passed || result.expected === null ? '' : ` (expected: ${result.expected})`;
  const reason = result.reason === null ? [] : [`        ${result.reason}`];
  const lines = (result.explanation ?? []).map((line) => `        ${line}`);
  return [`${mark}  ${result.decision.padEnd(7)}  ${result.case}: ${by}${expected}`, ...reason, ...lines].join('\n');
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
