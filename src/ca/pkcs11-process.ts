/**
 * The process that loads the vendor's PKCS#11 module, started by pkcs11-child.ts. Its calls may block, hang or crash:
 * here that costs the server nothing but this process.
 */
import { messageOf } from '../errors.js';
import type { TokenAnswer, TokenRequest } from './pkcs11-messages.js';
import { openToken, PinRefusedError, type Token } from './pkcs11-token.js';

let token: Token | undefined;

process.on('message', (request: TokenRequest) => {
  answer(request).then(
    (done) => process.send?.({ id: request.id, ...done }),
    (error: unknown) => process.send?.({ id: request.id, error: describe(error) }),
  );
});

// The server went away or wants a fresh start. Calls that hang in the module would keep the process alive.
process.on('disconnect', () => {
  try {
    token?.close();
  } finally {
    process.exit(0);
  }
});

// A terminal sends these to the server's children too, and the server still has certificates to finish.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

async function answer(request: TokenRequest): Promise<Omit<TokenAnswer, 'id'>> {
  if (request.do === 'open') {
    token = openToken(await loadBinding(), request.open);
    return { opened: token.opened };
  }
  if (token === undefined) throw new Error('no token is open');
  return { signature: await token.sign(request.mechanism, request.input) };
}

async function loadBinding(): Promise<typeof import('pkcs11js')> {
  try {
    return (await import('pkcs11js')).default;
  } catch (cause) {
    const why = messageOf(cause).split('\n')[0];
    throw new Error(
      'the npm package pkcs11js, which is compiled when it is installed, cannot be loaded: with python3, make and a C++ ' +
        `compiler at hand run "npm install pkcs11js", or "npm rebuild pkcs11js" where it is there already (${why})`,
      { cause },
    );
  }
}

function describe(error: unknown): NonNullable<TokenAnswer['error']> {
  return { message: messageOf(error), pinRefused: error instanceof PinRefusedError };
}
