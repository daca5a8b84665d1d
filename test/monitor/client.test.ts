import { openLogClient } from '../../src/monitor/client.js';

/** A client whose time passes only where it waits. */
function lab(answers: readonly (() => Response | Promise<Response>)[], more: object = {}) {
  let now = 1_000_000;
  const pauses: number[] = [];
  const at: number[] = [];
  let [running, most, asked] = [0, 0, 0];
  const client = openLogClient({
    url: 'https://log.example/2026',
    clock: () => now,
    random: () => 1,
    wait: async (ms) => {
      pauses.push(ms);
      now += ms;
    },
    fetch: async () => {
      at.push(now);
      running += 1;
      most = Math.max(most, running);
      await Promise.resolve();
      const answer = await (answers[Math.min(asked, answers.length - 1)] ?? (() => new Response('ok')))();
      asked += 1;
      running -= 1;
      return answer;
    },
    ...more,
  });
  return { client, pauses, at, most: () => most };
}

const ok = () => new Response('ok');
const status =
  (code: number, headers: Record<string, string> = {}) =>
  () =>
    new Response('', { status: code, headers });
const unreachable = () => Promise.reject(new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') }));

test('what is there is read, and what is not is undefined', async () => {
  expect(Buffer.from((await lab([ok]).client.get('x', 10)) ?? []).toString()).toBe('ok');
  expect(await lab([status(404)]).client.get('x', 10)).toBeUndefined();
  expect(await lab([status(410)]).client.get('x', 10)).toBeUndefined();
});

test.each([
  ['seconds', '7', 7000],
  ['a date', new Date(1_000_000 + 9000).toUTCString(), 9000],
])('Retry-After in %s is honoured, by every request to the log', async (_name, retryAfter, ms) => {
  const { client, at } = lab([status(429, { 'retry-after': retryAfter }), ok]);
  await client.get('a', 10);
  expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(ms);
});

test('a log that wants to be left alone for an hour is left alone, and not asked again before', async () => {
  const { client, at } = lab([status(503, { 'retry-after': '3600' })]);
  await expect(client.get('a', 10)).rejects.toThrow('it asks to be left alone for 3600 s');
  await expect(client.get('b', 10)).rejects.toThrow('it asks to be left alone');
  expect(at).toHaveLength(1);
});

test('failures are tried again with growing pauses, and then it says what was found', async () => {
  const { client, pauses } = lab([unreachable], { requestsPerSecond: 1000 });
  await expect(client.get('tile/0/000', 10)).rejects.toThrow('connect ECONNREFUSED at tile/0/000, 5 times');
  expect(pauses.filter((ms) => ms >= 500)).toEqual([500, 1000, 2000, 4000]);
});

test.each([
  ['a refusal', status(403), 'HTTP status 403 at x'],
  ['a redirect', status(301, { location: 'http://169.254.169.254/' }), 'HTTP status 301 (to "http://169.254.169.254/"'],
  ['an answer that is too long', () => new Response('x'.repeat(11)), 'longer than 10 bytes'],
])('%s is not tried again', async (_name, answer, message) => {
  const { client, at } = lab([answer]);
  await expect(client.get('x', 10)).rejects.toThrow(message);
  expect(at).toHaveLength(1);
});

test('no more than so many requests a second', async () => {
  const { client, at } = lab([ok], { requestsPerSecond: 10, parallel: 1 });
  await Promise.all(Array.from({ length: 20 }, (_, i) => client.get(String(i), 10)));
  expect(at).toEqual(Array.from({ length: 20 }, (_, i) => 1_000_000 + i * 100));
});

test('no more than so many requests at the same time', async () => {
  const slow = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return ok();
  };
  const { client, at, most } = lab([slow], { parallel: 3 });
  await Promise.all(Array.from({ length: 20 }, (_, i) => client.get(String(i), 10)));
  expect([at.length, most()]).toEqual([20, 3]);
});
