import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openTokenStore, type TokenStoreOptions } from '../src/token-reuse.js';

const directory = (): string => join(mkdtempSync(join(tmpdir(), 'mayfly-tokens-')), 'tokens');
const use = (id: string | undefined, signingInput = 'h.p', issuer = 'https://a') => ({
  issuer,
  id,
  signingInput: Buffer.from(signingInput),
  expiresAtMs: 2_000_000,
});
const store = (options: Partial<TokenStoreOptions> = {}) =>
  openTokenStore({ directory: directory(), clock: () => 1_000_000, ...options });

test('a token id is good for one use per issuer, whatever else the token says', async () => {
  const tokens = store();
  await tokens.reserve(use('1', 'h.p'));
  await expect(tokens.reserve(use('1', 'h.q'))).rejects.toMatchObject({ code: 'TOKEN_REUSED' });
  await tokens.reserve(use('1', 'h.p', 'https://b'));
  await tokens.close();
});

test('a token without an id is known by its header and payload, and its signature does not matter', async () => {
  const tokens = store();
  await tokens.reserve(use(undefined, 'h.p'));
  await expect(tokens.reserve(use(undefined, 'h.p'))).rejects.toMatchObject({ code: 'TOKEN_REUSED' });
  await tokens.reserve(use(undefined, 'h.q'));
  await tokens.close();
});

test('of a hundred simultaneous uses exactly one wins', async () => {
  const tokens = store();
  const results = await Promise.allSettled(Array.from({ length: 100 }, () => tokens.reserve(use('1'))));
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
  await tokens.close();
});

test('uses are remembered across a restart', async () => {
  const options = { directory: directory() };
  const before = store(options);
  await before.reserve(use('1'));
  await before.close();
  const after = store(options);
  await expect(after.reserve(use('1'))).rejects.toMatchObject({ code: 'TOKEN_REUSED' });
  await after.close();
});

test('a full store refuses, and forgets only what has expired', async () => {
  let now = 1_000_000;
  const tokens = store({ capacity: 2, clock: () => now });
  await tokens.reserve(use('1'));
  await tokens.reserve(use('2'));
  await expect(tokens.reserve(use('3'))).rejects.toMatchObject({ code: 'TOKEN_STORE_FULL' });
  now = 3_000_000;
  await tokens.reserve({ ...use('3'), expiresAtMs: 5_000_000 });
  await tokens.close();
});
