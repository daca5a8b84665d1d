import { publicKeyOf, signatureOf, signInput } from './pkcs11-attributes.js';
import { PinRefused, type StartTokenProcess, startTokenProcess, type TokenProcess } from './pkcs11-child.js';
import type { Pkcs11Config } from './pkcs11-config.js';
import type { OpenAnswer } from './pkcs11-messages.js';
import type { RemoteKey } from './remote-key.js';

/** A key in a PKCS#11 token, and the certificates beside it as they were found last. */
export interface Pkcs11Key extends RemoteKey {
  certificates(): OpenAnswer['certificates'];
}

/** Signatures that are made at the same time at most: threads of the process and sessions of the token. */
export const maxSigners = 32;

/** One session keeps the login. */
export function signersOf(config: Pkcs11Config): number {
  return Math.min(config.maxSessions - 1, maxSigners);
}

/**
 * The private key with this label. Whenever the public key is asked for, a new process loads the module afresh: a
 * module whose token went away (an HSM that restarted) does not find back to it otherwise. The configuration is read
 * afresh with it, and a PIN that was refused is not tried again: tokens lock themselves after a few wrong ones.
 */
export function pkcs11Key(
  readConfig: () => Pkcs11Config,
  keyLabel: string,
  start: StartTokenProcess = startTokenProcess,
): Pkcs11Key {
  const { token } = readConfig();
  let current: TokenProcess | undefined;
  let opened: OpenAnswer | undefined;
  let refused: { readonly pin: string | undefined; readonly error: Error } | undefined;

  async function connect(): Promise<OpenAnswer> {
    const config = readConfig();
    const { pin } = config;
    if (refused !== undefined && refused.pin === pin) throw refused.error;
    await current?.close();
    current = start(signersOf(config));
    try {
      return await current.open({ ...config, keyLabel });
    } catch (cause) {
      if (!(cause instanceof PinRefused)) throw cause;
      const error = new Error(`${cause.message}; it is not tried again, since that could lock the token`, { cause });
      refused = { pin, error };
      throw error;
    }
  }

  return {
    describe: `the key "${keyLabel}" (--hsm-key-label) in the token with the ${token.by} "${token.value}"`,
    certificates: () => opened?.certificates ?? [],
    async publicKey(signal) {
      const abandon = () => void current?.close();
      signal.addEventListener('abort', abandon, { once: true });
      try {
        opened = await connect();
      } finally {
        signal.removeEventListener('abort', abandon);
      }
      return publicKeyOf(opened.key);
    },
    async sign(data, algorithm) {
      if (current === undefined) throw new Error('no token is open');
      const { mechanism, input } = signInput(algorithm, data);
      return signatureOf(algorithm, await current.sign(mechanism, input));
    },
    async close() {
      await current?.close();
    },
  };
}
