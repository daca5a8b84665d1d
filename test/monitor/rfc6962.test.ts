import fc from 'fast-check';
import { appendLeaves, inclusionProof, leafHash, noPeaks, peaksRoot } from '../../src/ctlog/merkle.js';
import { openLogClient } from '../../src/monitor/client.js';
import { parseTreeHead, peaksOfLastPath, rfc6962Source } from '../../src/monitor/rfc6962-source.js';

const hashes = Array.from({ length: 70 }, (_, i) => leafHash(Buffer.from(String(i))));
const peaksOf = (from: number, to: number) => appendLeaves(noPeaks, hashes.slice(from, to), () => {});
const read = async (level: number, index: number) => peaksRoot(peaksOf(index * 2 ** level, (index + 1) * 2 ** level));

test('the audit path of the last leaf gives the peaks of the tree, for every size', async () => {
  for (let size = 1; size <= hashes.length; size += 1) {
    const last = hashes[size - 1] ?? Buffer.alloc(0);
    const path = await inclusionProof(size - 1, size, read);
    expect(peaksOfLastPath(size, last, path)).toEqual(peaksOf(0, size));
    expect(() => peaksOfLastPath(size, last, [...path, last])).toThrow('the audit path of entry');
    if (path.length > 0) expect(() => peaksOfLastPath(size, last, path.slice(1))).toThrow('the audit path of entry');
  }
});

test('whatever a log answers, only BadAnswer comes of it', async () => {
  const answer = fc.oneof(
    fc.string(),
    fc.json(),
    fc.record({ tree_size: fc.anything(), timestamp: fc.anything(), sha256_root_hash: fc.base64String() }).map(textOf),
    fc
      .record({ entries: fc.array(fc.record({ leaf_input: fc.base64String(), extra_data: fc.base64String() })) })
      .map(textOf),
  );
  await fc.assert(
    fc.asyncProperty(answer, async (text) => {
      expect(nameOf(() => parseTreeHead(Buffer.from(text)))).toMatch(/^(BadAnswer|none)$/);
      const client = openLogClient({
        url: 'https://log.example',
        fetch: async () => new Response(text),
        clock: () => 0,
        wait: async () => {},
        random: () => 0,
      });
      const tree = rfc6962Source(client).tree({
        size: 3,
        root: Buffer.alloc(32),
        timestamp: 0,
        signature: Buffer.alloc(0),
      });
      for (const ask of [() => readAll(tree.entries(0)), () => tree.peaks(3), () => tree.consistencyProof(1, 3)]) {
        const name = await ask().then(
          () => 'none',
          (error: unknown) => (error as Error).name,
        );
        expect(name).toMatch(/^(BadAnswer|none)$/);
      }
    }),
    { numRuns: 300 },
  );
});

async function readAll(entries: AsyncIterable<readonly unknown[]>): Promise<void> {
  for await (const some of entries) expect(some.length).toBeGreaterThan(0);
}

function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? String(one) : one)) ?? '';
}

function nameOf(call: () => unknown): string {
  try {
    call();
    return 'none';
  } catch (error) {
    return (error as Error).name;
  }
}
