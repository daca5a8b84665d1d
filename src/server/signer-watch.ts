import type { Signer } from '../ca/signer.js';
import { messageOf } from '../errors.js';

/** A signer, and whether it could sign when it was last asked. */
export interface WatchedSigner {
  readonly signer: Signer;
  /** Why the key cannot sign; undefined while it can, and again after a while, because only a request can find out. */
  readonly trouble: () => string | undefined;
}

/** For how long a failed signature makes the server count as not ready, in milliseconds. */
const unreadyMs = 15_000;

/**
 * Asks a signer that knows its own state, and otherwise remembers the outcome of its last call; `clock` gives milliseconds
 * since the epoch.
 */
export function watchSigner(signer: Signer, clock: () => number): WatchedSigner {
  const { trouble } = signer;
  if (trouble !== undefined) {
    return {
      signer,
      trouble() {
        const reason = trouble();
        return reason === undefined ? undefined : cannotSign(reason);
      },
    };
  }
  let failure: { readonly reason: string; readonly at: number } | undefined;
  return {
    signer: {
      ...signer,
      async sign(data) {
        try {
          const signature = await signer.sign(data);
          failure = undefined;
          return signature;
        } catch (error) {
          failure = { reason: cannotSign(messageOf(error)), at: clock() };
          throw error;
        }
      },
    },
    trouble: () => (failure !== undefined && clock() - failure.at < unreadyMs ? failure.reason : undefined),
  };
}

function cannotSign(reason: string): string {
  return `the key of the certificate authority cannot sign: ${reason}`;
}
