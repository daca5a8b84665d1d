import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { createIssuers } from '../../src/identity/issuers.js';
import type { Principal } from '../../src/identity/principal.js';
import { extensionNames, identityExtensions, sigstoreArc } from '../../src/x509/extensions.js';
import { authenticate, clock, everyIssuer, failureOf, now, token } from './support.js';

/** Certificates and errors made by a real Fulcio; they lie beside the checkout where it is developed. */
const golden = fileURLToPath(new URL('../../../shared/golden/', import.meta.url));
const present = existsSync(golden);
const readJson = (name: string) => JSON.parse(readFileSync(`${golden}${name}`, 'utf8'));
const files = present ? readdirSync(`${golden}certificates`) : [];
const issuers = () =>
  createIssuers(parseIdentityConfig(readFileSync(`${golden}config.yaml`, 'utf8'), 'config.yaml'), {
    fetcher: everyIssuer(),
    clock,
  });

/** The identity extensions of a principal as they stand in a certificate: OID and DER in hex. */
function encodedExtensions(principal: Principal) {
  return extensionNames.flatMap((name) => {
    const value = principal.extensions[name];
    if (value === undefined || value === '') return [];
    const { arc, encoding } = identityExtensions[name];
    const bytes = Buffer.from(value);
    const length = bytes.length < 128 ? [bytes.length] : [0x81, bytes.length];
    const der = encoding === 'raw' ? bytes : Buffer.concat([Buffer.from([0x0c, ...length]), bytes]);
    return [{ oid: `${sigstoreArc}.${arc}`, value: der.toString('hex') }];
  });
}

const sanOf = ({ san }: Principal) => ({ type: san.kind === 'username' ? 'otherName' : san.kind, value: san.value });

describe(present ? 'against certificates of a real Fulcio' : 'skipped: ../shared/golden is not here', () => {
  const cases = present ? test : test.skip;

  cases.each(files.length > 0 ? files : ['none'])('toPrincipal gives what %s certifies', async (file) => {
    const vector = readJson(`certificates/${file}`);
    const principal = await authenticate(token(vector.claims), issuers());
    const [name] = vector.san.names;
    expect(sanOf(principal)).toEqual({ type: name.type, value: name.value });
    expect(principal.challenge.value).toBe(vector.challenge);
    const expected = vector.extensions
      .filter(({ oid }: { oid: string }) => oid.startsWith(`${sigstoreArc}.`))
      .map(({ oid, value }: { oid: string; value: string }) => ({ oid, value }));
    expect(encodedExtensions(principal)).toEqual(expected);
  });

  cases('list tells issuers in the order and with the values of /api/v2/configuration', () => {
    const listed = issuers()
      .list()
      .map(({ url, wildcard, ...rest }) =>
        wildcard ? { wildcardIssuerUrl: url, ...rest } : { issuerUrl: url, ...rest },
      );
    expect(listed).toEqual(readJson('configuration.json').issuers);
  });

  const requests = present ? [...readJson('errors.json').requests] : [];
  const aboutTokens = requests.filter(({ name }) => /^(email|github|spiffe|uri|username|chainguard|token-)/.test(name));
  // What is wrong with these is not in the claims but in the signature or the outer form: token.test.ts has them.
  const outer = ['token-other-key', 'token-signature-cut', 'token-padded'];
  const structured = aboutTokens.filter(({ name, request }) => request.token?.claims && !outer.includes(name));
  cases.each(structured.map(({ name, request }) => [name, request.token]))(
    'refuses %s, as Fulcio does',
    async (_name, jwt) => {
      // These differ in their signature or outer form, which is not in the vector; token.test.ts has them.
      await expect(failureOf(() => authenticate(token(absolute(jwt.claims), jwt.header), issuers()))).resolves.toMatch(
        /^[A-Z_]+: ./,
      );
    },
  );

  /** Ours refuses these on purpose: see the list of holes in docs/compatibility.md. */
  const holes = ['email-claim-two-cases', 'email-claim-other-case', 'username-empty', 'github-no-sub'];
  const accepted = present
    ? [...readJson('accepted.json').requests].filter(({ request }) => request.token?.claims)
    : [];
  cases.each(accepted.map((row) => [row.name, row]))(
    '%s: same SAN as Fulcio, or a hole that is closed',
    async (name, row) => {
      const work = () => authenticate(token(absolute(row.request.token.claims), row.request.token.header), issuers());
      if (holes.includes(name) && name !== 'email-claim-two-cases') return void (await failureOf(work));
      expect((await work()).san.value).toBe(name === 'email-claim-two-cases' ? 'eve@example.com' : row.san);
    },
  );
});

/** Times are written as `now+3600`; a vector without one has none, which `token` must not add. */
function absolute(claims: Record<string, unknown>): Record<string, unknown> {
  const none = { aud: undefined, iat: undefined, nbf: undefined, exp: undefined };
  const resolved = Object.entries(claims).map(([name, value]) => {
    const match = typeof value === 'string' ? /^now([+-]\d+)$/.exec(value) : null;
    return [name, match === null ? value : now + Number(match[1])];
  });
  return { ...none, ...Object.fromEntries(resolved) };
}
