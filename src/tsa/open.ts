import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { openFileSigner } from '../ca/file-signer.js';
import { readPrivateFile } from '../ca/private-file.js';
import type { Signer } from '../ca/signer.js';
import { AppError, messageOf } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { createAuthority, type TimestampAuthority } from './authority.js';
import { loadTsaChain, type TsaChain } from './chain.js';
import { guardClock } from './clock.js';
import { openTsaKeys } from './first-start.js';
import { createTsaMetrics, type TsaMetrics } from './metrics.js';

/** The settings of the timestamp authority. */
export interface TsaSettings {
  /** Where key and chain are; without, in the data directory, which gets them at the first start. */
  readonly key?: TsaKeyChoice;
  /** Dotted OID of the policy of its tokens. */
  readonly policy: string;
  /** How far the clock may jump before there are no timestamps, in milliseconds. */
  readonly clockLimitMs: number;
}

/** A key in a file, a KMS or an HSM; the chain is always in a file. */
export type TsaKeyChoice = { readonly chainPath: string } & (
  | { readonly in: 'file'; readonly keyPath: string; readonly password?: string }
  | { readonly in: 'kms'; readonly resource: string }
  | { readonly in: 'hsm'; readonly configPath: string; readonly keyLabel: string }
);

/** Opens a key that is in a KMS or an HSM; throws AppError STARTUP. */
export type OpenRemoteKey = (choice: Exclude<TsaKeyChoice, { in: 'file' }>) => Promise<Signer>;

export interface OpenTsaDeps {
  readonly openRemoteKey: OpenRemoteKey;
  readonly dataDir: string;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'registry'>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Milliseconds since any instant, never set back. */
  readonly monotonic: () => number;
  /** Unpredictable bytes. */
  readonly random: (size: number) => Uint8Array;
  /** A time that has passed, in milliseconds since the epoch. */
  readonly lowest: () => number;
}

/** A timestamp authority with its instruments; `close` ends the watch over the clock and gives the key back. */
export interface OpenedTsa {
  readonly authority: TimestampAuthority;
  readonly metrics: TsaMetrics;
  close(): Promise<void>;
}

const organization = 'mayfly';
/** How often the clocks are compared, and for how long they must agree after a jump, in milliseconds. */
const checkEveryMs = 1000;
const steadyMs = 5 * 60_000;

/** Opens the timestamp authority the settings describe. Throws AppError STARTUP naming the flag or file that is wrong. */
export async function openTsa(settings: TsaSettings, deps: OpenTsaDeps): Promise<OpenedTsa> {
  const { clock, monotonic, lowest, logger, random } = deps;
  const { signer, chain } = await openKeys(settings, deps);
  const metrics = createTsaMetrics(deps.metrics.registry);
  const guarded = guardClock({
    clock,
    monotonic,
    limitMs: settings.clockLimitMs,
    steadyMs,
    lowest,
    onJump(byMs) {
      metrics.clockJumps.inc();
      const minutes = steadyMs / 60_000;
      logger.error(
        { byMs: Math.round(byMs) },
        `the clock jumped: no timestamps until it has been steady for ${minutes} minutes`,
      );
    },
  });
  const { policy } = settings;
  const authority = createAuthority({ signer, chain, policy, clock: guarded, wallClock: clock, random });
  metrics.observe(authority, deps.clock);
  const timer = setInterval(guarded.check, checkEveryMs);
  timer.unref();
  return {
    authority,
    metrics,
    async close() {
      clearInterval(timer);
      await signer.close();
    },
  };
}

interface OpenedKeys {
  readonly signer: Signer;
  readonly chain: TsaChain;
}

async function openKeys({ key: choice }: TsaSettings, deps: OpenTsaDeps): Promise<OpenedKeys> {
  const { dataDir, clock, random } = deps;
  if (choice === undefined) {
    const keys = await openTsaKeys(dataDir, { organization, now: clock(), random });
    const signer = naming(keys.keyPath, () => openFileSigner(keys.keyPem));
    return { signer, chain: naming(keys.chainPath, () => loadTsaChain(keys.chainPem, signer, clock())) };
  }
  const signer = choice.in === 'file' ? await openKeyFile(choice) : await deps.openRemoteKey(choice);
  try {
    const where = `--tsa-cert-chain ${choice.chainPath}`;
    const chain = naming(where, () => loadTsaChain(readFileSync(choice.chainPath, 'utf8'), signer, clock()));
    return { signer, chain };
  } catch (error) {
    await signer.close();
    throw error;
  }
}

async function openKeyFile({ keyPath, password }: Extract<TsaKeyChoice, { in: 'file' }>): Promise<Signer> {
  const pem = await readPrivateFile(keyPath);
  return naming(`--tsa-key ${keyPath}`, () => openFileSigner(pem, password));
}

/** Runs `open` and puts the file's name before what it complains about. */
function naming<T>(where: string, open: () => T): T {
  try {
    return open();
  } catch (cause) {
    // The signers of this house speak of the CA's key.
    const detail = cause instanceof AppError ? cause.detail.replace('the CA key', 'the key') : messageOf(cause);
    throw new AppError('STARTUP', `${where}: ${detail}`, { cause });
  }
}
