import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type OpenAnswer, type OpenRequest, parseTokenAnswer, type TokenAnswer } from './pkcs11-messages.js';

/** A process with a PKCS#11 module in it. */
export interface TokenProcess {
  /** Loads the module, logs in and finds the key; the first call. Throws PinRefused when the token refuses the PIN. */
  open(request: OpenRequest): Promise<OpenAnswer>;
  sign(mechanism: number, input: Uint8Array): Promise<Uint8Array>;
  /** Ends the process, by force if it does not end by itself; everything under way rejects. */
  close(): Promise<void>;
}

export type StartTokenProcess = (threads: number) => TokenProcess;

/** The token refused the PIN. */
export class PinRefused extends Error {
  override readonly name = 'PinRefused';
}

/** How long a process may take to log out before it is killed. */
const graceMs = 1000;

interface Pending {
  resolve(answer: TokenAnswer): void;
  reject(error: Error): void;
}

/** Starts the process; `threads` is how many calls of C_Sign it makes at the same time. */
export const startTokenProcess: StartTokenProcess = (threads) => {
  const child = fork(fileURLToPath(new URL('./pkcs11-process.js', import.meta.url)), [], {
    serialization: 'advanced',
    env: { ...process.env, UV_THREADPOOL_SIZE: String(threads) },
    execArgv: process.execArgv.filter((option) => !option.startsWith('--inspect')),
    // Modules write to their standard output, which is no place for that in a server that logs JSON.
    stdio: ['ignore', 2, 2, 'ipc'],
  });
  const pending = new Map<number, Pending>();
  let lastId = 0;

  const exited = new Promise<void>((resolve) => {
    const end = (why: string) => {
      for (const { reject } of pending.values()) reject(new Error(why));
      pending.clear();
      resolve();
    };
    child.once('error', (error) => end(`the process of the PKCS#11 module: ${error.message}`));
    child.once('exit', (code, signal) => end(`the process of the PKCS#11 module ended with ${signal ?? code}`));
  });
  child.on('message', (message) => {
    const answer = parseTokenAnswer(message);
    const asked = pending.get(answer.id);
    pending.delete(answer.id);
    if (answer.error === undefined) asked?.resolve(answer);
    else asked?.reject(new (answer.error.pinRefused ? PinRefused : Error)(answer.error.message));
  });

  function ask(request: object): Promise<TokenAnswer> {
    return new Promise((resolve, reject) => {
      const id = ++lastId;
      if (!child.connected) {
        reject(new Error('the process of the PKCS#11 module has ended'));
        return;
      }
      pending.set(id, { resolve, reject });
      child.send({ id, ...request }, (error) => {
        if (error !== null && pending.delete(id)) reject(error);
      });
    });
  }

  return {
    async open(request) {
      const { opened } = await ask({ do: 'open', open: request });
      if (opened === undefined) throw new Error('the process of the PKCS#11 module gave another answer');
      return opened;
    },
    async sign(mechanism, input) {
      const { signature } = await ask({ do: 'sign', mechanism, input });
      if (signature === undefined) throw new Error('the process of the PKCS#11 module gave another answer');
      return signature;
    },
    close: () => end(child, exited),
  };
};

async function end(child: ChildProcess, exited: Promise<void>): Promise<void> {
  if (child.connected) child.disconnect();
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await exited;
  clearTimeout(timer);
}
