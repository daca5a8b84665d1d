import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createEphemeralCa } from '../../src/ca/ephemeral.js';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { createIssuers } from '../../src/identity/issuers.js';
import { parseToken, verifyToken } from '../../src/identity/token.js';
import { localWork } from '../../src/issuance/work.js';
import { type IssueDeps, issue } from '../../src/issue.js';
import { defaultKeyPolicy } from '../../src/proof.js';
import { parseCertificate } from '../../src/x509/certificate.js';
import { csrOf } from '../proof/sample-keys.js';
import { goodClaims, signToken, writeFuzzConfig } from './corpus.js';
import { hostileText, hostileValues } from './hostile.js';
import { jsonText, mutateBytes, mutateJson, mutateText } from './mutate.js';
import type { Random } from './random.js';
import { type Input, mayFail, must, type Target, textOf } from './target.js';

const goodTokens = goodClaims.map((claims) => signToken(claims));
const signedInputs = new Set(goodTokens.map((token) => token.slice(0, token.lastIndexOf('.'))));

const headers: readonly unknown[] = [
  { alg: 'none' },
  { alg: 'HS256', kid: 'k1' },
  { alg: 'EdDSA', kid: 'k1', jku: 'https://evil.example/jwks' },
  { alg: 'EdDSA', kid: 'k1', crit: ['exp'] },
  { alg: ['EdDSA'] },
  { alg: 'ES256', kid: 'k1' },
  { alg: 'toString', kid: '__proto__' },
];

/** Claims of one issuer with some of them hostile; the token's signature is good. */
export function hostileToken(random: Random): string {
  const claims = random.pick(goodClaims);
  if (random.chance(0.3)) return signToken(jsonText(random, mutateJson(random, claims)));
  // Most mutations of a whole token die at its times or audience: these change what becomes part of a certificate.
  const names = Object.keys(claims).filter((name) => !['iss', 'aud', 'exp'].includes(name));
  const changed: Record<string, unknown> = { ...claims };
  for (let i = 1 + random.below(3); i > 0; i--) {
    const name = random.pick([...names, 'sub', 'email', 'url']);
    changed[name] = random.chance(0.7) ? spliced(random, claims[name]) : random.pick(hostileValues);
  }
  return signToken(jsonText(random, changed));
}

function spliced(random: Random, value: unknown): string {
  const text = typeof value === 'string' ? value : 'x';
  const at = random.below(text.length + 1);
  return text.slice(0, at) + hostileText(random) + text.slice(at);
}

/** A token of which header, payload, segments, base64 or signature were changed after signing. */
export function brokenToken(random: Random): string {
  const token = random.pick(goodTokens);
  const [head = '', payload = '', signature = ''] = token.split('.');
  return random.pick<() => string>([
    () => mutateText(random, token),
    () => mutateBytes(random, Buffer.from(token)).toString('latin1'),
    () => `${head}.${base64(jsonText(random, mutateJson(random, random.pick(goodClaims))))}.${signature}`,
    () => `${base64(JSON.stringify(random.pick(headers)))}.${payload}.${signature}`,
    () =>
      signToken(
        random.pick(goodClaims),
        random.chance(0.5) ? random.pick(headers) : mutateJson(random, random.pick(headers)),
      ),
    () => `${head}.${base64(mutateBytes(random, Buffer.from(payload, 'base64url')))}.${signature}`,
    () => `${head}.${payload}.${base64(mutateBytes(random, Buffer.from(signature, 'base64url')))}`,
    () => [head, payload, signature].filter(() => random.chance(0.6)).join('.'),
    () => `${token}${random.pick(['=', '==', '.', '\n', '\u0000', ' ', '.e30'])}`,
    () => random.pick(['.', '..', '', 'Bearer', `${head}..`]).repeat(1 + random.below(1_000)),
  ])();
}

const base64 = (data: string | Uint8Array): string => Buffer.from(data).toString('base64url');

/** Targets around the path from a token to a certificate. */
export async function tokenTargets(): Promise<Record<'token' | 'claims', Target>> {
  const { configPath } = writeFuzzConfig();
  const config = parseIdentityConfig(readFileSync(configPath, 'utf8'), configPath);
  const issuers = createIssuers(config, {
    fetcher: { get: () => Promise.reject(new Error('no network')) },
    clock: Date.now,
  });
  const ca = await createEphemeralCa(Date.now);
  const deps: IssueDeps = {
    issuers: () => issuers,
    ca: () => ca,
    admit: () => ({ keyPolicy: defaultKeyPolicy }),
    intend: () => undefined,
    work: localWork,
    ctLog: undefined,
    tokens: undefined,
    lifetimeMs: 600_000,
    clock: Date.now,
    random: randomBytes,
    observe: () => undefined,
  };
  const context = { requestId: 'fuzz', clientAddress: undefined };
  const pair = generateKeyPairSync('ed25519');
  const csr = Buffer.from(csrOf(pair, { hash: null, algorithm: '1.3.101.112' }));

  async function runToken(input: Input): Promise<boolean> {
    const jwt = textOf(input);
    const verified = await mayFail(async () => {
      const raw = parseToken(jwt);
      return verifyToken(raw, issuers.match(raw.issuer), Date.now);
    }, jwt);
    if (verified === undefined) return false;
    const signed = Buffer.from(verified.signingInput).toString('latin1');
    // The only spelling of a signed token is the one that was signed; tokens that were re-signed have another header.
    const isOurs = signedInputs.has(signed) || !jwt.startsWith('eyJhbGciOiJFZERTQSIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.');
    must(isOurs, 'a token was accepted that nobody signed');
    return true;
  }

  async function runClaims(input: Input): Promise<boolean> {
    const jwt = textOf(input);
    const request = { token: jwt, key: { kind: 'csr', csr } as const };
    const issued = await mayFail(() => issue(request, deps, new AbortController().signal, context), jwt);
    if (issued === undefined) return false;
    const leaf = parseCertificate(issued.certificate);
    const sans = leaf.extensions.filter(({ oid }) => oid === '2.5.29.17');
    must(sans.length === 1 && sans[0]?.critical === true, 'not one critical SAN');
    const { san } = issued.principal;
    must(Buffer.from(sans[0]?.value ?? []).includes(Buffer.from(san.value)), 'the SAN is not the principal');
    const isClean =
      san.kind === 'username' ? !/[\p{Cc}!]/u.test(san.value.replace('!', '')) : /^[\x21-\x7e]+$/.test(san.value);
    must(isClean, `the ${san.kind} ${JSON.stringify(san.value)} in a certificate`);
    must(new X509Certificate(issued.certificate).verify(ca.signer.publicKey), 'the leaf does not verify');
    return true;
  }

  return {
    token: { weight: 22, make: brokenToken, run: runToken },
    claims: { weight: 16, make: hostileToken, run: runClaims },
  };
}
