import { createRandom } from './random.js';
import type { Input, Target } from './target.js';

export type Targets = Readonly<Record<string, Target>>;

/** One input for which the property did not hold. */
export interface Failure {
  readonly kind: string;
  /** Which input of this kind: with the seed it makes the input again. */
  readonly index: number;
  readonly input: Input;
  readonly error: unknown;
}

export interface FuzzOptions {
  readonly seed: string;
  readonly count: number;
  /** Inputs under way at once: some wait for libuv's threads or for the server. */
  readonly concurrency: number;
  /** An input that keeps the event loop for longer is a failure. */
  readonly slowMs: number;
  readonly maxFailures: number;
  /** Called after every input. */
  readonly onDone?: (done: number) => void;
}

/** The input with this number; the same for ever for a seed. */
export function inputOf(target: Target, kind: string, seed: string, index: number): Input {
  return target.make(createRandom(`${seed}/${kind}/${index}`));
}

/** How many inputs each target gets of `count`: in proportion to its weight, at least one. */
export function shares(targets: Targets, count: number): Map<string, number> {
  const total = Object.values(targets).reduce((sum, { weight }) => sum + weight, 0);
  return new Map(
    Object.entries(targets).map(([kind, { weight }]) => [kind, Math.max(1, Math.round((count * weight) / total))]),
  );
}

/** What became of the inputs. */
export interface Outcome {
  readonly failures: readonly Failure[];
  /** By kind: how many inputs were fed, and how many of them were accepted. */
  readonly counts: ReadonlyMap<string, { fed: number; accepted: number }>;
}

/** Feeds every target its share, the targets in turn; stops early at `maxFailures`. */
export async function fuzz(targets: Targets, options: FuzzOptions): Promise<Outcome> {
  const failures: Failure[] = [];
  const counts = new Map(Object.keys(targets).map((kind) => [kind, { fed: 0, accepted: 0 }]));
  const work = schedule(targets, options.count);
  let done = 0;
  const worker = async (): Promise<void> => {
    for (const [kind, index] of work) {
      if (failures.length >= options.maxFailures) return;
      const [target, count] = [targets[kind], counts.get(kind)];
      if (target === undefined || count === undefined) continue;
      const result = await feed(target, kind, index, options);
      count.fed++;
      if (result === true) count.accepted++;
      else if (result !== false) failures.push(result);
      options.onDone?.(++done);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, worker));
  return { failures, counts };
}

async function feed(target: Target, kind: string, index: number, options: FuzzOptions): Promise<Failure | boolean> {
  const input = inputOf(target, kind, options.seed, index);
  try {
    const start = performance.now();
    const running = target.run(input);
    const ms = performance.now() - start;
    const isAccepted = await running;
    if (ms > options.slowMs) throw new Error(`it kept the event loop for ${Math.round(ms)} ms`);
    return isAccepted;
  } catch (error) {
    return { kind, index, input, error };
  }
}

/** Every target's inputs, spread evenly over the run. */
function* schedule(targets: Targets, count: number): Generator<readonly [string, number]> {
  const states = [...shares(targets, count)].map(([kind, share]) => ({ kind, share, next: 0 }));
  const most = Math.max(...states.map(({ share }) => share));
  for (let step = 1; step <= most; step++) {
    for (const state of states) {
      while (state.next < state.share && state.next * most < state.share * step) yield [state.kind, state.next++];
    }
  }
}
