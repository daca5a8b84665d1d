/**
 * Getting an ID token from an OpenID Connect provider for the person at the terminal: in a browser (authorization code
 * with PKCE to a loopback address, RFC 8252) or on another device (RFC 8628).
 */
import * as oidc from 'openid-client';
import { messageOf } from '../errors.js';
import { listenForRedirect } from './login-redirect.js';
import { CommandError, type CommandIo, networkReason } from './request-io.js';

export interface LoginOptions {
  readonly issuer: string;
  readonly clientId: string;
  /** For a provider that registers this program as a confidential client. */
  readonly clientSecret?: string;
  /** Port of the loopback redirect, for a provider that wants it registered; 0 takes a free one. */
  readonly redirectPort?: number;
  /** How long a person may take. */
  readonly timeoutMs?: number;
}

type LoginIo = Pick<CommandIo, 'err' | 'fetch' | 'openBrowser'>;

const scope = 'openid email';
const defaultTimeoutMs = 5 * 60_000;
const loopbackHosts = ['127.0.0.1', '[::1]', 'localhost'];

/**
 * Sends the user to the provider in a browser and returns the ID token. openid-client checks state, nonce, issuer,
 * audience and times; the signature is for the certificate authority to verify.
 * @throws CommandError 1 when the provider or the user refuses, or nothing happens in time.
 */
export async function loginWithBrowser(options: LoginOptions, io: LoginIo): Promise<string> {
  const config = await discover(options, io);
  const redirect = await listenForRedirect(options.redirectPort ?? 0);
  try {
    const verifier = oidc.randomPKCECodeVerifier();
    const state = oidc.randomState();
    const nonce = oidc.randomNonce();
    const url = oidc.buildAuthorizationUrl(config, {
      redirect_uri: redirect.url,
      scope,
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      nonce,
    });
    const opened = await io.openBrowser(url.href);
    io.err(`${opened ? 'Log in in the browser that opened. If none did, open' : 'To log in, open'}:\n  ${url.href}\n`);
    const answer = await redirect.wait(options.timeoutMs ?? defaultTimeoutMs);
    const tokens = await oidc.authorizationCodeGrant(config, answer, {
      pkceCodeVerifier: verifier,
      expectedState: state,
      expectedNonce: nonce,
      idTokenExpected: true,
    });
    return idTokenOf(tokens, options.issuer);
  } catch (error) {
    throw loginError(options.issuer, error);
  } finally {
    await redirect.close();
  }
}

/**
 * Shows a code for the user to enter in a browser on any device, waits for that, and returns the ID token.
 * @throws CommandError 1 when the provider has no device flow, the user refuses, or the code expires.
 */
export async function loginWithDevice(options: LoginOptions, io: LoginIo): Promise<string> {
  const config = await discover(options, io);
  try {
    const start = await oidc.initiateDeviceAuthorization(config, { scope });
    const link = start.verification_uri_complete;
    io.err(`On any device, open ${start.verification_uri} and enter the code ${start.user_code}\n`);
    if (link !== undefined) io.err(`or open ${link}\n`);
    const signal = AbortSignal.timeout(options.timeoutMs ?? defaultTimeoutMs);
    const tokens = await oidc.pollDeviceAuthorizationGrant(config, start, undefined, { signal });
    return idTokenOf(tokens, options.issuer);
  } catch (error) {
    throw loginError(options.issuer, error);
  }
}

async function discover(options: LoginOptions, io: LoginIo): Promise<oidc.Configuration> {
  const { issuer, clientId, clientSecret } = options;
  const url = parseIssuer(issuer);
  const loopback = url.protocol === 'http:' && loopbackHosts.includes(url.hostname);
  if (url.protocol !== 'https:' && !loopback) {
    throw new CommandError(2, `the issuer ${issuer} is not https; http is only taken for a loopback address`);
  }
  const authentication = clientSecret === undefined ? oidc.None() : oidc.ClientSecretPost(clientSecret);
  try {
    return await oidc.discovery(url, clientId, undefined, authentication, {
      execute: loopback ? [oidc.allowInsecureRequests] : [],
      [oidc.customFetch]: (target, { body, ...init }) => io.fetch(target, { ...init, body: body ?? null }),
    });
  } catch (error) {
    throw loginError(issuer, error);
  }
}

function parseIssuer(issuer: string): URL {
  try {
    return new URL(issuer);
  } catch {
    throw new CommandError(2, `the issuer "${issuer}" is not a URL`);
  }
}

function idTokenOf(tokens: { readonly id_token?: string | undefined }, issuer: string): string {
  if (tokens.id_token !== undefined) return tokens.id_token;
  throw new CommandError(1, `${issuer} gave no ID token; does its client allow the scope "openid"?`);
}

function loginError(issuer: string, error: unknown): CommandError {
  if (error instanceof CommandError) return error;
  return new CommandError(1, `the login at ${issuer} failed: ${loginReason(error)}`, error);
}

function loginReason(error: unknown): string {
  if (error instanceof oidc.AuthorizationResponseError || error instanceof oidc.ResponseBodyError) {
    return [error.error, error.error_description].filter((part) => part !== undefined).join(': ');
  }
  if (error instanceof Error && error.name === 'TimeoutError') return 'nobody logged in in time';
  // openid-client and fetch both say what failed and leave to the cause why.
  return error instanceof oidc.ClientError || error instanceof TypeError ? networkReason(error) : messageOf(error);
}
