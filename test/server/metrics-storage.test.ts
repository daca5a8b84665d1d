import { expect, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { watchStorage } from '../../src/server/storage-watch.js';
import { eventually, temporary } from './lab.js';

const mebibyte = 2 ** 20;

function lab() {
  const registry = new Registry();
  const lines: string[] = [];
  const logger = { warn: (line: string) => void lines.push(line) } as never;
  return { metrics: { registry }, logger, lines, registry };
}

test.each([
  ['has a lot of room', async () => 1e12, undefined],
  [
    'has room for a little',
    async () => 10 * mebibyte,
    /^data has room for 10485760 bytes only; expected 67108864 or more$/,
  ],
  [
    'cannot be written to',
    async () => {
      throw new Error('EROFS: read-only file system');
    },
    /^data cannot be written to: EROFS/,
  ],
])('a directory that %s is described as such', async (_what, freeBytes, expected) => {
  const { metrics, logger, lines } = lab();
  const watch = await watchStorage(['data'], { metrics, logger, freeBytes });
  watch.close();
  if (expected === undefined) expect(watch.trouble()).toBeUndefined();
  else expect(watch.trouble()).toMatch(expected);
  expect(lines).toHaveLength(expected === undefined ? 0 : 1);
});

test('is looked at again and again, and one that hangs is asked once', async () => {
  const { metrics, logger, lines } = lab();
  let free: Promise<number> = Promise.resolve(0);
  let asked = 0;
  const freeBytes = (): Promise<number> => {
    asked++;
    return free;
  };
  const watch = await watchStorage(['data'], { metrics, logger, freeBytes, intervalMs: 5 });
  await eventually(() => asked > 3);
  expect(lines).toHaveLength(1);
  free = Promise.resolve(1e12);
  await eventually(() => watch.trouble() === undefined);
  free = new Promise(() => {});
  await eventually(() => asked > 5);
  const before = asked;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(asked).toBeLessThanOrEqual(before + 1);
  watch.close();
});

test('the bytes that are left on a real directory can be scraped', async () => {
  const { metrics, logger, registry } = lab();
  const directory = temporary();
  const watch = await watchStorage([directory], { metrics, logger });
  watch.close();
  expect(watch.trouble()).toBeUndefined();
  expect(await registry.metrics()).toMatch(new RegExp(`mayfly_storage_free_bytes\\{directory="${directory}"\\} [1-9]`));
});
