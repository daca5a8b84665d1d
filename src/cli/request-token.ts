import { readFile } from 'node:fs/promises';
import { decodeJwt, type JWTPayload } from 'jose';
import { z } from 'zod';
import { messageOf } from '../errors.js';
import { CommandError, type CommandIo, networkReason } from './request-io.js';

export interface TokenOptions {
  /** The token itself, the name of a file that holds it, or "-" for standard input. */
  readonly identityToken?: string;
  readonly identityTokenFile?: string;
  readonly identityTokenStdin?: boolean;
}

export interface FoundToken {
  readonly token: string;
  /** Where it came from, for people: "SIGSTORE_ID_TOKEN", "standard input". */
  readonly source: string;
}

/** Environment variables that hold a token, in the order in which they are looked at. */
const tokenVariables = ['MAYFLY_ID_TOKEN', 'SIGSTORE_ID_TOKEN'] as const;
const githubUrlVariable = 'ACTIONS_ID_TOKEN_REQUEST_URL';
const githubSecretVariable = 'ACTIONS_ID_TOKEN_REQUEST_TOKEN';
const githubTimeoutMs = 10_000;
const compactJws = /^[\w-]+\.[\w-]+\.[\w-]*$/;
const githubAnswer = z.object({ value: z.string().min(1) });

/**
 * The identity token that a flag gives; undefined when none does.
 * @throws CommandError 2 when several flags give one, or what they give is no token.
 */
export async function tokenFromFlags(options: TokenOptions, io: CommandIo): Promise<FoundToken | undefined> {
  const { identityToken, identityTokenFile, identityTokenStdin = false } = options;
  const stdin = identityTokenStdin || identityToken === '-';
  const value = identityToken === '-' ? undefined : identityToken;
  if ([value !== undefined, identityTokenFile !== undefined, stdin].filter(Boolean).length > 1) {
    throw new CommandError(
      2,
      'several flags give an identity token; use one of --identity-token, --identity-token-file, --identity-token-stdin',
    );
  }
  if (stdin) return checked(await io.readStdin(), 'standard input');
  if (identityTokenFile !== undefined) return fromFile(identityTokenFile, '--identity-token-file');
  if (value === undefined) return undefined;
  if (compactJws.test(value.trim())) return checked(value, '--identity-token');
  return fromFile(value, '--identity-token');
}

async function fromFile(path: string, flag: string): Promise<FoundToken> {
  // A token that lost a part on its way looks like a path here, so what was given is never repeated.
  const content = await readFile(path, 'utf8').catch((cause: unknown) => {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : messageOf(cause);
    throw new CommandError(2, `${flag} is neither a token nor a file that can be read (${code})`);
  });
  return checked(content, `the file of ${flag}`);
}

/**
 * The identity token of a job: in a variable (GitLab's `id_tokens` under the name that Sigstore's tools look for) or from
 * GitHub Actions, asked for with `audience`; undefined when this is neither.
 * @throws CommandError 2 when a variable holds no token, 1 when GitHub gives none.
 */
export async function tokenFromEnvironment(audience: string, io: CommandIo): Promise<FoundToken | undefined> {
  return tokenFromVariable(io) ?? (await tokenFromGithub(audience, io));
}

function tokenFromVariable(io: CommandIo): FoundToken | undefined {
  for (const name of tokenVariables) {
    const value = io.env[name];
    if (value !== undefined && value !== '') return checked(value, name);
  }
  return undefined;
}

/** https://docs.github.com/actions/security-for-github-actions/security-hardening-your-deployments */
async function tokenFromGithub(audience: string, io: CommandIo): Promise<FoundToken | undefined> {
  const requestUrl = io.env[githubUrlVariable];
  const secret = io.env[githubSecretVariable];
  if (!requestUrl || !secret) {
    if (io.env.GITHUB_ACTIONS !== 'true') return undefined;
    throw new CommandError(
      1,
      'this GitHub Actions job may not ask for a token; give it "permissions: id-token: write"',
    );
  }
  const url = new URL(requestUrl);
  url.searchParams.set('audience', audience);
  try {
    const response = await io.fetch(url, {
      headers: { authorization: `Bearer ${secret}`, accept: 'application/json' },
      signal: AbortSignal.timeout(githubTimeoutMs),
    });
    if (!response.ok) throw new Error(`GitHub answered HTTP ${response.status}`);
    return checked(githubAnswer.parse(await response.json()).value, 'GitHub Actions');
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    const reason = cause instanceof z.ZodError ? 'the answer holds no token' : networkReason(cause);
    throw new CommandError(1, `GitHub Actions gave no identity token: ${reason}`, cause);
  }
}

function checked(text: string, source: string): FoundToken {
  const token = text.trim();
  if (token === '') throw new CommandError(2, `${source} is empty; expected an identity token (a JWT)`);
  if (!compactJws.test(token)) {
    throw new CommandError(2, `${source} holds no identity token; expected a JWT: three base64url parts between dots`);
  }
  return { token, source };
}

/**
 * What the client has to sign to prove that it holds its key: the verified email if the token has one, else the
 * subject, or the claim that `claim` names. Only the server verifies the token; this reads it.
 * @throws CommandError 2 when the token cannot be read or lacks the claim.
 */
export function challengeOf(token: string, claim: string | undefined): { claim: string; value: string } {
  const claims = readClaims(token);
  const verified = claims.email_verified === true || claims.email_verified === 'true';
  const name = claim ?? (verified && typeof claims.email === 'string' ? 'email' : 'sub');
  const value = claims[name];
  if (typeof value === 'string' && value !== '') return { claim: name, value };
  throw new CommandError(
    2,
    `the identity token has no text in its claim "${name}", which the proof of possession signs; --challenge names another`,
  );
}

function readClaims(token: string): JWTPayload {
  try {
    return decodeJwt(token);
  } catch (cause) {
    throw new CommandError(
      2,
      'the identity token cannot be read; expected a JWT with a JSON object in its middle',
      cause,
    );
  }
}
