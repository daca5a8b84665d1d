import { Worker } from 'node:worker_threads';

/** Runs in a thread of its own, because an endless loop stops every timer of this one. */
const source = `
const { workerData } = require('node:worker_threads');
const { writeSync } = require('node:fs');
let last = -1;
setInterval(() => {
  const now = Atomics.load(workerData.progress, 0);
  if (now === last) {
    writeSync(2, 'fuzz: HANG: no input finished for ' + workerData.limitMs + ' ms after input ' + now + '; ' + workerData.hint + '\\n');
    process.kill(process.pid, 'SIGKILL');
  }
  last = now;
}, workerData.limitMs).unref();
setInterval(() => {}, 1e9);
`;

/** Kills this process, after saying `hint`, when `alive` is not called for longer than `limitMs`. */
export function startWatchdog(limitMs: number, hint: string): { alive(): void; stop(): Promise<unknown> } {
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(source, { eval: true, workerData: { progress, limitMs, hint }, execArgv: [] });
  worker.unref();
  return { alive: () => void Atomics.add(progress, 0, 1), stop: () => worker.terminate() };
}
