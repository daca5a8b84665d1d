import { type LogAnswer, type LogTransport, logTransport } from '../ct/log-transport.js';
import { AppError, messageOf } from '../errors.js';
import { isObject } from '../identity/claims.js';
import { describe } from '../identity/quote.js';
import { parseStrictJson } from '../json.js';

/** What a policy server decided. */
export interface PolicyAnswer {
  readonly allowed: boolean;
  /** Its words for the caller; '' for none. */
  readonly reason: string;
  /** Its name for what decided; '' for none. */
  readonly rule: string;
}

/** A policy server that is asked over HTTP. */
export interface PolicyServer {
  /** Throws AppError POLICY_UNAVAILABLE unless there is an answer of one reading in time. */
  ask(input: unknown): Promise<PolicyAnswer>;
  close(): void;
}

export interface OpaSettings {
  /** Of one decision, such as http://127.0.0.1:8181/v1/data/mayfly/decision. */
  readonly url: URL;
  readonly timeoutMs: number;
  /** PEM roots to trust for TLS instead of the system's. */
  readonly caCert?: string;
}

const maxAnswerBytes = 64 * 1024;
/** Under way and waiting for a connection; more than the transport's connections, so that a short burst gets through. */
const maxPending = 256;

/**
 * The Data API of an Open Policy Agent: POST with `{"input": …}`; the `result` is true, false or
 * `{"allow": …, "reason": …, "rule": …}`. No result at all denies, as in OPA itself. Connections are kept and shared.
 */
export function opaServer({ url, timeoutMs, caCert }: OpaSettings): PolicyServer {
  const transport = logTransport(caCert === undefined ? {} : { caCert });
  let pending = 0;
  return {
    async ask(input) {
      if (pending >= maxPending) throw unavailable(`has ${pending} questions to answer already`);
      pending += 1;
      try {
        return readAnswer(await post(transport, url, JSON.stringify({ input }), timeoutMs));
      } finally {
        pending -= 1;
      }
    },
    close: () => transport.close(),
  };
}

async function post(transport: LogTransport, url: URL, body: string, timeoutMs: number): Promise<LogAnswer> {
  const limits = { signal: AbortSignal.timeout(timeoutMs), maxBytes: maxAnswerBytes };
  try {
    // A kept connection may have been closed by the other side just now; to ask twice changes nothing.
    return await transport.post(url, body, limits).catch((error: unknown) => {
      if (codeOf(error) !== 'ECONNRESET') throw error;
      return transport.post(url, body, limits);
    });
  } catch (cause) {
    const reached = codeOf(cause) === undefined ? 'gave an answer that cannot be read' : 'cannot be reached';
    const why = limits.signal.aborted ? `gave no answer within ${timeoutMs} ms` : reached;
    throw unavailable(why, cause);
  }
}

const codeOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;

function readAnswer({ status, body }: LogAnswer): PolicyAnswer {
  if (status !== 200) throw unavailable(`answered with HTTP status ${status}`);
  let answer: unknown;
  try {
    answer = parseStrictJson(body);
  } catch (cause) {
    throw unavailable(`gave an answer that is not JSON: ${messageOf(cause)}`, cause);
  }
  if (!isObject(answer)) throw unavailable(`answered ${describe(answer)}; expected an object with "result"`);
  if (!Object.hasOwn(answer, 'result')) return { allowed: false, reason: 'it has no decision about this', rule: '' };
  const { result } = answer;
  if (typeof result === 'boolean') return { allowed: result, reason: '', rule: '' };
  if (!isObject(result) || typeof result.allow !== 'boolean') {
    throw unavailable('gave a result that is neither a boolean nor an object with a boolean "allow"');
  }
  return { allowed: result.allow, reason: oneLine(result.reason, 300), rule: oneLine(result.rule, 80) };
}

/** Text of the policy server's own, cut and without control characters; '' for anything but text. */
function oneLine(value: unknown, maxChars: number): string {
  return typeof value === 'string' ? value.slice(0, maxChars).replace(/\p{C}/gu, ' ').trim() : '';
}

function unavailable(why: string, cause?: unknown): AppError {
  return new AppError('POLICY_UNAVAILABLE', `the policy server ${why}`, { cause, retryAfterSeconds: 1 });
}
