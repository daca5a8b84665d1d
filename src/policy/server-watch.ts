import { messageOf } from '../errors.js';
import type { PolicyServer } from './opa.js';

/** A policy server, and whether it gave an answer when it was last asked. */
export interface WatchedPolicyServer extends PolicyServer {
  /** Why it decides nothing now; undefined while it does. */
  readonly trouble: () => string | undefined;
}

/** A question about nobody, whose answer is of no account: what matters is that there is one. */
const probe = { version: 1, probe: true };

/**
 * Remembers the outcome of the last question, and asks one of its own at once and whenever nobody has asked for `idleMs`:
 * so readiness is known before the first request, and a server that is sent no requests finds out that it may get them again.
 */
export function watchPolicyServer(server: PolicyServer, idleMs: number): WatchedPolicyServer {
  let reason: string | undefined;
  let isAsked = false;
  const ask: PolicyServer['ask'] = async (input) => {
    isAsked = true;
    try {
      const answer = await server.ask(input);
      reason = undefined;
      return answer;
    } catch (error) {
      reason = messageOf(error);
      throw error;
    }
  };
  const look = (): void => {
    if (!isAsked) ask(probe).catch(() => undefined);
    isAsked = false;
  };
  look();
  const timer = setInterval(look, idleMs).unref();
  return {
    ask,
    trouble: () => reason,
    close() {
      clearInterval(timer);
      server.close();
    },
  };
}
