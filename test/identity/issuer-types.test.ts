import { readdirSync, readFileSync } from 'node:fs';
import { authenticate, failureOf, offlineIssuers, token } from './support.js';

interface Vector {
  readonly name: string;
  readonly config: unknown;
  readonly claims: Record<string, unknown>;
  readonly san?: unknown;
  readonly extensions?: Record<string, string>;
  readonly challenge?: unknown;
  readonly refused?: string;
}

const directory = new URL('../vectors/', import.meta.url);
const files = readdirSync(directory).filter((name) => name.startsWith('identity-'));

describe.each(files)('toPrincipal, vectors of %s', (file) => {
  const vectors: readonly Vector[] = JSON.parse(readFileSync(new URL(file, directory), 'utf8'));

  test.each(vectors.map((vector) => [vector.name, vector] as const))('%s', async (_name, vector) => {
    const work = () => authenticate(token(vector.claims), offlineIssuers(JSON.stringify(vector.config)));
    if (vector.refused !== undefined) {
      expect(await failureOf(work)).toContain(vector.refused);
      return;
    }
    const principal = await work();
    expect(principal.san).toEqual(vector.san);
    if (vector.challenge !== undefined) expect(principal.challenge).toEqual(vector.challenge);
    if (vector.extensions !== undefined) expect(principal.extensions).toEqual(vector.extensions);
  });
});

describe('toPrincipal', () => {
  const iss = 'https://id.example.com';
  const yaml = (fields: string) => `oidc-issuers:\n  ${iss}:\n    client-id: sigstore\n${fields}\n`;

  test('offers the challenge-claim beside the claim that Fulcio checks', async () => {
    const issuers = offlineIssuers(yaml('    type: email\n    challenge-claim: sub'));
    const principal = await authenticate(
      token({ iss, sub: 'u1', email: 'j@example.com', email_verified: true }),
      issuers,
    );
    expect(principal.challenge).toEqual({ claim: 'email', value: 'j@example.com' });
    expect(principal.alternativeChallenge).toEqual({ claim: 'sub', value: 'u1' });
    expect(issuers.list()[0]?.challengeClaim).toBe('sub');
  });

  test('without a challenge-claim there is one challenge', async () => {
    const principal = await authenticate(
      token({ iss, sub: 'u1', email: 'j@example.com', email_verified: true }),
      offlineIssuers(yaml('    type: email')),
    );
    expect(principal).not.toHaveProperty('alternativeChallenge');
  });

  test.each([
    'jane@localhost',
    'jane@',
    '@example.com',
    'jane@@example.com',
    'jane@example..com',
    'jane.@example.com',
    'jane@-a.example.com',
    'jane@1.2.3.4',
    'jane@example.com\n',
    'jane@example.com\u0000',
    'jane doe@example.com',
    'Jane <jane@example.com>',
    '"jane"@example.com',
    `${'a'.repeat(65)}@example.com`,
    'jane@exämple.com',
  ])('refuses the e-mail address %j', async (email) => {
    const work = () =>
      authenticate(token({ iss, sub: 'u', email, email_verified: true }), offlineIssuers(yaml('    type: email')));
    expect(await failureOf(work)).toContain('CLAIM_INVALID: claim "email" is');
  });
});
