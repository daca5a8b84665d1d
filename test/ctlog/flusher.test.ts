import { Flusher } from '../../src/ctlog/flusher.js';
import { MemoryStorage } from './memory-storage.js';

/** A storage whose flushes end when they are told to. */
class SlowStorage extends MemoryStorage {
  readonly flushes: (() => void)[] = [];

  override flush(): Promise<void> {
    return new Promise((resolve) => this.flushes.push(resolve));
  }
}

const turns = () => new Promise<void>((resolve) => setImmediate(resolve));

test('a drain resolves only after every flush under way, also one that another drain began', async () => {
  const storage = new SlowStorage();
  const flusher = new Flusher({ storage, delayMs: 1_000_000, failed: () => {} });
  const add = (stage: string) => flusher.add({ stages: [stage], bytes: 1, paths: [], filled: [] });
  await add('one');
  const drains = [flusher.drain()];
  await turns();
  await add('two');
  // Both wait for the flush of `one`; the first of them goes on with `two`.
  drains.push(flusher.drain(), flusher.drain());
  let done = 0;
  for (const drain of drains) void drain.then(() => done++);
  storage.flushes[0]?.();
  await turns();
  expect([storage.flushes.length, done]).toEqual([2, 1]);
  storage.flushes[1]?.();
  await turns();
  expect(done).toBe(3);
});
