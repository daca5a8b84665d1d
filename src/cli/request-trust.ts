import { readFile } from 'node:fs/promises';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { messageOf } from '../errors.js';
import { decodePem } from '../x509/pem.js';
import { apiUrl, fetchText, fetchTrustBundle } from './request-api.js';
import { CommandError, type CommandIo } from './request-io.js';
import type { LogKey } from './verify-certificate.js';

export interface TrustOptions {
  readonly url: string;
  /** File with a trusted root (JSON). */
  readonly trustedRoot?: string;
  /** File with the log's public key (PEM). */
  readonly ctLogKey?: string;
}

/** What an issued certificate is checked against. */
export interface ClientTrust {
  /** For people: where the roots come from. */
  readonly source: string;
  /** False when they come from the server that is being checked, over the same connection. */
  readonly independent: boolean;
  /** DER. */
  readonly roots: readonly Uint8Array[];
  readonly logs: readonly LogKey[];
}

/**
 * The roots and log keys to check with: those of the trusted root file, else what the server says of itself (its
 * trusted root, or its trust bundle if it serves none). A log key file adds to either.
 * @throws CommandError 2 for a file that cannot be used, 1 when the server gives nothing to trust.
 */
export async function loadTrust(options: TrustOptions, io: Pick<CommandIo, 'fetch'>): Promise<ClientTrust> {
  const base =
    options.trustedRoot === undefined ? await trustOfServer(options.url, io) : await trustOfFile(options.trustedRoot);
  if (options.ctLogKey === undefined) return base;
  const logKey = await readLogKey(options.ctLogKey);
  return { ...base, logs: [...base.logs, logKey] };
}

async function trustOfFile(path: string): Promise<ClientTrust> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new CommandError(2, `--trusted-root cannot be read: ${messageOf(cause)}`, cause);
  });
  try {
    return { source: `the trusted root ${path}`, independent: true, ...parseTrustedRoot(text) };
  } catch (cause) {
    throw new CommandError(2, `--trusted-root: ${path} is not a trusted root: ${messageOf(cause)}`, cause);
  }
}

async function trustOfServer(url: string, io: Pick<CommandIo, 'fetch'>): Promise<ClientTrust> {
  const trustedRoot = await fetchText(apiUrl(url, 'trust/trusted_root.json'), io.fetch);
  const described = { source: `what ${url} says of itself`, independent: false };
  try {
    if (trustedRoot !== undefined) return { ...described, ...parseTrustedRoot(trustedRoot) };
    const chains = await fetchTrustBundle(url, io.fetch);
    const roots = chains.flatMap((chain) => chain.slice(-1)).map((pem) => decodePem(pem, ['CERTIFICATE']).der);
    return { ...described, roots, logs: [] };
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    throw new CommandError(1, `what ${url} offers to trust cannot be read: ${messageOf(cause)}`, cause);
  }
}

async function readLogKey(path: string): Promise<LogKey> {
  try {
    return { publicKey: decodePem(await readFile(path, 'utf8'), ['PUBLIC KEY']).der };
  } catch (cause) {
    throw new CommandError(2, `--ct-log-key: ${path} holds no PEM public key: ${messageOf(cause)}`, cause);
  }
}

/** The anchors of a trusted root (sigstore_trustroot.proto); throws when the text is none or has no CA in it. */
export function parseTrustedRoot(text: string): Pick<ClientTrust, 'roots' | 'logs'> {
  const parsed = TrustedRoot.fromJSON(JSON.parse(text));
  const roots = parsed.certificateAuthorities.flatMap(({ certChain }) => certChain?.certificates.slice(-1) ?? []);
  if (roots.length === 0) throw new Error('it names no certificate authority');
  return {
    roots: roots.map(({ rawBytes }) => rawBytes),
    logs: parsed.ctlogs.flatMap(({ publicKey, baseUrl }) =>
      publicKey?.rawBytes === undefined
        ? []
        : [{ name: baseUrl, publicKey: publicKey.rawBytes, ...periodOf(publicKey.validFor) }],
    ),
  };
}

function periodOf(
  range: { start?: Date | undefined; end?: Date | undefined } | undefined,
): Pick<LogKey, 'start' | 'end'> {
  return {
    ...(range?.start === undefined ? {} : { start: range.start }),
    ...(range?.end === undefined ? {} : { end: range.end }),
  };
}
