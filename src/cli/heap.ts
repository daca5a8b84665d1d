import { setFlagsFromString } from 'node:v8';

/** How far the old generation may grow beyond what lived after its last collection; V8's own choice is up to 300 %. */
const growthPercent = 70;

/**
 * Bounds the memory of a busy server (docs/performance.md). Only this number is set after the start: flags that switch V8's
 * helper threads off crashed it there ("unreachable code"), so those belong on the command line of node.
 */
export function boundHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${growthPercent}`);
}
