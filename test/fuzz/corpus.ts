import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

type Json = Readonly<Record<string, unknown>>;

/** The key of every issuer here: fixed, so that an input found in one run fails again in the next. Protects nothing. */
const pkcs8Ed25519 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 7)]);
export const issuerKey: KeyObject = createPrivateKey({ key: pkcs8Ed25519, format: 'der', type: 'pkcs8' });
export const jwks: Json = {
  keys: [{ ...createPublicKey(issuerKey).export({ format: 'jwk' }), kid: 'k1', alg: 'EdDSA', use: 'sig' }],
};

/** The last second a NumericDate may name here: tokens that do not age. */
export const farExp = 253_402_300_799;

const header = { alg: 'EdDSA', kid: 'k1', typ: 'JWT' };

/** A compact JWS over header and payload as given; text goes in as it is. */
export function signToken(payload: unknown, head: unknown = header): string {
  const part = (value: unknown): string =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  const input = `${part(head)}.${part(payload)}`;
  return `${input}.${sign(null, Buffer.from(input), issuerKey).toString('base64url')}`;
}

const presets: readonly string[] = readdirSync(path('config'))
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => basename(name, '.yaml'));

/** Texts of all presets: what the configuration parser is fed with, before and after mutation. */
export const configTexts = presets.map((name) => readFileSync(path(`config/${name}.yaml`), 'utf8'));

const configs = configTexts.map((text) => parse(text, { merge: true }) as Record<string, Record<string, Json>>);

const olderTypes: Readonly<Record<string, string>> = {
  'github-workflow': 'github-actions',
  'gitlab-pipeline': 'gitlab',
  'buildkite-job': 'buildkite',
  'codefresh-workflow': 'codefresh',
};
const olderIssuer = (type: string): string => `https://older.example/${type}`;

function presetClaims(name: string): Json[] {
  const cases = JSON.parse(readFileSync(path(`test/vectors/presets/${name}.json`), 'utf8')) as { claims: Json }[];
  return cases.map(({ claims }) => ({ ...claims, exp: farExp }));
}

/** Every preset's issuers in one configuration, the older types too, each with `jwksFile` in place of discovery. */
export function everyIssuerConfig(jwksFile: string): string {
  const issuers = Object.assign({}, ...configs.map((config) => config['oidc-issuers'] ?? {})) as Record<string, Json>;
  for (const type of Object.keys(olderTypes)) issuers[olderIssuer(type)] = { 'client-id': 'sigstore', type };
  const named = Object.entries(issuers).map(([url, issuer]) => [url, { ...issuer, 'jwks-file': jwksFile }]);
  const providers = Object.assign({}, ...configs.map((config) => config['ci-issuer-metadata'] ?? {}));
  return JSON.stringify({ 'oidc-issuers': Object.fromEntries(named), 'ci-issuer-metadata': providers }, null, 1);
}

/** Two presets may configure one issuer in two ways; the later one is in force. */
const isInForce = (preset: string, { iss }: Json): boolean =>
  presets.findLast((_name, i) => Object.hasOwn(configs[i]?.['oidc-issuers'] ?? {}, String(iss))) === preset;

/** Claims that get a certificate, at least one set for every issuer type. */
export const goodClaims: readonly Json[] = [
  ...presets.flatMap((name) => presetClaims(name).filter((claims) => isInForce(name, claims))),
  ...Object.entries(olderTypes).map(([type, preset]) => ({ ...presetClaims(preset)[0], iss: olderIssuer(type) })),
];

/** A fresh directory with the configuration and the keys it names. */
export function writeFuzzConfig(): { readonly directory: string; readonly configPath: string } {
  const directory = mkdtempSync(join(tmpdir(), 'mayfly-fuzz-'));
  const jwksFile = join(directory, 'jwks.json');
  const configPath = join(directory, 'identity.json');
  writeFileSync(jwksFile, JSON.stringify(jwks));
  writeFileSync(configPath, everyIssuerConfig(jwksFile));
  return { directory, configPath };
}
