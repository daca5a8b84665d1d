import { startServer } from '../../src/server/start.js';
import { type FuzzOptions, fuzz, inputOf, type Outcome, shares, type Targets } from './fuzz.js';
import { keyTargets } from './key-targets.js';
import { messageTargets } from './message-targets.js';
import { createRandom } from './random.js';
import { fuzzFlags } from './server-process.js';
import { serverTargets } from './server-targets.js';
import { tokenTargets } from './token-targets.js';

const seed = process.env.FUZZ_SEED ?? String(Date.now());
const options: FuzzOptions = { seed, count: 20_000, concurrency: 16, slowMs: 2_000, maxFailures: 5 };

/** What failed, with all it takes to make the input again. */
function told({ failures }: Outcome): string[] {
  return failures.map(({ kind, index, input, error }) => {
    const again = `npm run fuzz -- --seed ${seed} --kind ${kind} --only ${index}`;
    return `${again}\n${error instanceof Error ? error.stack : String(error)}\n${typeof input === 'string' ? input.slice(0, 2_000) : Buffer.from(input).toString('base64')}`;
  });
}

test("hostile tokens, keys and messages end in the parsers' own errors", async () => {
  const targets: Targets = { ...(await tokenTargets()), ...(await keyTargets()), ...messageTargets };
  const outcome = await fuzz(targets, { ...options, count: 19_000 });
  expect(told(outcome)).toEqual([]);
  // A generator whose inputs all die at the first check would prove nothing.
  for (const [kind, { accepted }] of outcome.counts) expect([kind, accepted > 0]).toEqual([kind, true]);
});

test('hostile requests never get a 500, a stack trace or their token back from a running server', async () => {
  const server = await startServer({ ...fuzzFlags(), 'log-level': 'error' }, { environment: {} });
  const asking = serverTargets({ port: Number(new URL(server.url).port), grpcPort: server.grpcPort });
  try {
    expect(told(await fuzz(asking.targets, { ...options, count: 1_000 }))).toEqual([]);
  } finally {
    asking.close();
    await server.close();
  }
});

test('a seed makes the same inputs again', async () => {
  const { body } = messageTargets;
  const made = (): string[] => [0, 1, 2].map((index) => String(inputOf(body, 'body', 'seed', index)));
  expect(made()).toEqual(made());
  expect(createRandom('a').bytes(8)).toEqual(createRandom('a').bytes(8));
  expect(createRandom('a').bytes(8)).not.toEqual(createRandom('b').bytes(8));
});

test('a target that throws anything but its own errors is reported with its input', async () => {
  const broken = {
    weight: 1,
    make: () => 'x',
    run: async () => {
      throw new TypeError('oops');
    },
  };
  const { failures } = await fuzz({ broken }, { ...options, count: 3, maxFailures: 1, concurrency: 1 });
  expect(failures.map(({ kind, index, input, error }) => [kind, index, input, String(error)])).toEqual([
    ['broken', 0, 'x', 'TypeError: oops'],
  ]);
  expect([...shares({ broken, other: { ...broken, weight: 3 } }, 100).values()]).toEqual([25, 75]);
});
