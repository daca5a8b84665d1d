import type { IssuerKeys } from '../../src/identity/discovery.js';
import { FetchError } from '../../src/identity/fetch-error.js';
import { parseJwks } from '../../src/identity/jwks.js';
import { createKeyCache, defaultKeyTimes, type KeySource } from '../../src/identity/keys.js';
import { failureOf, publicJwk, rsaKey } from './support.js';

const keySet = (...kids: string[]): IssuerKeys => ({
  keys: parseJwks(JSON.stringify({ keys: kids.map((kid) => publicJwk(rsaKey, kid)) })).keys,
  algorithms: new Set(['RS256']),
});

/** An issuer whose clock and answers the test sets. */
function lab(first: IssuerKeys | Error = keySet('a')) {
  const state = { now: 0, answer: first as IssuerKeys | Error | Promise<IssuerKeys>, fetches: 0 };
  const keys: KeySource = createKeyCache({
    issuer: 'https://id.example.com',
    clock: () => state.now,
    times: { ...defaultKeyTimes, staleWaitMs: 20 },
    fetchKeys: async () => {
      state.fetches++;
      const answer = await state.answer;
      if (answer instanceof Error) throw answer;
      return answer;
    },
  });
  return { state, keys, finds: async (kid: string) => (await keys.find('RS256', kid)).length };
}

const { freshMs, refreshAheadMs, graceMs, unknownKeyIntervalMs, retryMs } = defaultKeyTimes;
const down = new FetchError('it refused the connection', true);
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('the key cache', () => {
  test('fetches nothing until asked, then once for all who ask at the same time', async () => {
    const { state, finds } = lab();
    expect(state.fetches).toBe(0);
    expect(await Promise.all([finds('a'), finds('a'), finds('a')])).toEqual([1, 1, 1]);
    expect(state.fetches).toBe(1);
  });

  test('renews keys in the background before they are stale', async () => {
    const { state, finds } = lab();
    await finds('a');
    state.answer = keySet('a', 'b');
    state.now = refreshAheadMs;
    expect(await finds('a')).toBe(1);
    await settled();
    expect(state.fetches).toBe(2);
    expect(await finds('b')).toBe(1);
    expect(state.fetches).toBe(2);
  });

  test('picks up a rotated key without a restart, and asks for unknown ones once per interval', async () => {
    const { state, finds } = lab();
    await finds('a');
    state.answer = keySet('b');
    expect(await finds('b')).toBe(1);
    expect(state.fetches).toBe(2);
    const flood = Array.from({ length: 500 }, (_, i) => failureOf(() => finds(`invented-${i}`)));
    expect(new Set((await Promise.all(flood)).map((text) => text.slice(0, 17)))).toEqual(
      new Set(['TOKEN_KEY_UNKNOWN']),
    );
    expect(state.fetches).toBe(2);
    state.now += unknownKeyIntervalMs;
    await failureOf(() => finds('invented'));
    expect(state.fetches).toBe(3);
  });

  test('stops accepting a key that the issuer withdrew', async () => {
    const { state, finds } = lab();
    await finds('a');
    state.answer = keySet('b');
    state.now = freshMs;
    expect(await failureOf(() => finds('a'))).toContain('TOKEN_KEY_UNKNOWN');
  });

  test('uses stale keys for the grace while the issuer is down, and no longer', async () => {
    const { state, keys, finds } = lab();
    await finds('a');
    state.answer = down;
    state.now = freshMs;
    expect(await finds('a')).toBe(1);
    expect(keys.status()).toMatchObject({ state: 'stale', keyCount: 1, failure: expect.stringContaining('refused') });
    state.now = freshMs + graceMs - 1;
    expect(await finds('a')).toBe(1);
    state.now = freshMs + graceMs + retryMs;
    expect(await failureOf(() => finds('a'))).toBe(
      'ISSUER_UNAVAILABLE: the keys of issuer "https://id.example.com" cannot be fetched: it refused the connection',
    );
    expect(keys.status().state).toBe('failed');
  });

  test('does not wait long for an issuer that hangs when stale keys will do', async () => {
    const { state, finds } = lab();
    await finds('a');
    state.answer = new Promise(() => undefined);
    state.now = freshMs;
    expect(await finds('a')).toBe(1);
    state.now += 1_000;
    expect(await Promise.all([finds('a'), finds('a')])).toEqual([1, 1]);
    expect(state.fetches).toBe(2);
  });

  test('leaves an issuer alone for a while after a failure, and recovers', async () => {
    const { state, keys, finds } = lab(down);
    await failureOf(() => finds('a'));
    await failureOf(() => finds('a'));
    expect(state.fetches).toBe(1);
    state.answer = keySet('a');
    state.now = retryMs;
    expect(await finds('a')).toBe(1);
    expect(keys.status()).toMatchObject({ state: 'fresh', failure: undefined });
  });

  test('warmUp reports through status and never throws', async () => {
    const { keys, state } = lab(down);
    expect(keys.status().state).toBe('unknown');
    await keys.warmUp();
    expect(keys.status()).toMatchObject({ state: 'failed', failure: expect.stringContaining('cannot be fetched') });
    state.answer = keySet('a');
    await keys.warmUp();
    expect(keys.status().state).toBe('fresh');
  });

  test('says when a key is there but for another algorithm', async () => {
    const { keys } = lab({ ...keySet('a'), algorithms: new Set(['RS256', 'ES256']) });
    expect(await failureOf(() => keys.find('ES256', 'a'))).toContain(
      'key "a" of issuer "https://id.example.com" is not for ES256',
    );
  });
});
