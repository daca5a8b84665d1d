import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';

/** More processors than this, and V8's helper threads find one of their own. */
const fewProcessors = 2;
/** How far the old generation may grow beyond what lived after its last collection; V8's own choice is up to 300 %. */
const growthPercent = 70;

/**
 * Sets V8's garbage collector for a server that fills its processors. On few of them its helper threads only take time from
 * certificates: without them there are a tenth more. The bound on growth keeps the memory of a busy server below 250 MB
 * (docs/performance.md). `--workers` threads share the flags.
 */
export function tuneGarbageCollector(processors: number = availableParallelism()): void {
  setFlagsFromString(`--heap-growing-percent=${growthPercent}`);
  if (processors > fewProcessors) return;
  for (const flag of ['parallel-scavenge', 'concurrent-marking', 'concurrent-sweeping', 'parallel-compaction']) {
    setFlagsFromString(`--no-${flag}`);
  }
}
