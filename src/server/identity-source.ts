import { existsSync, type FSWatcher, readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Logger } from 'pino';
import { type IdentityConfig, parseIdentityConfig } from '../config/identity.js';
import { AppError, messageOf } from '../errors.js';
import { createIssuers, type Issuers, type IssuersDeps } from '../identity/issuers.js';
import type { Metrics } from '../metrics.js';

/** The identity configuration in force, and how it is replaced. */
export interface IdentitySource {
  /** The snapshot a request takes; never changes under it. */
  current(): Issuers;
  /** Undefined when issuers are configured, else why no token can be accepted. */
  readonly missing: () => string | undefined;
  /** Loads the file again; a bad one is refused with a log line and the old one stays. */
  reload(why: string): void;
  /** Calls `listener` after another configuration came into force. */
  onChange(listener: () => void): void;
  close(): void;
}

export interface IdentitySourceDeps {
  readonly issuers: IssuersDeps;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

const none: IdentityConfig = parseIdentityConfig('{}', 'no identity configuration');
/** Editors and Kubernetes' symlink swaps make several events out of one change. */
const settleMs = 200;
const fileChanged = 'file changed';

/**
 * Loads the identity configuration and watches it. The default path may be missing (the server then accepts no token
 * and is not ready); a path the operator gave may not. Throws AppError STARTUP for a configuration that is wrong.
 */
export function openIdentitySource(path: string, given: boolean, deps: IdentitySourceDeps): IdentitySource {
  const file = resolveConfigPath(path);
  if (file === undefined && given) throw new AppError('STARTUP', `--config-path: there is no file ${path}`);
  let loaded = file === undefined ? undefined : read(file);
  let issuers = createIssuers(loaded?.config ?? none, deps.issuers);
  let generation = 0;
  const listeners: (() => void)[] = [];
  const announce = (): void => {
    deps.metrics.configGeneration.set(++generation);
    deps.metrics.configReloadSuccessful.set(1);
    deps.metrics.configReloadSuccessTime.set(deps.issuers.clock() / 1000);
    for (const warning of loaded?.config.warnings ?? []) deps.logger.warn({ file }, warning);
    if (issuers.list().length === 0) deps.logger.warn(noIssuers(file, path));
  };
  announce();

  const refused = (): void => {
    deps.metrics.configReloads.inc({ result: 'refused' });
    deps.metrics.configReloadSuccessful.set(0);
  };
  const reload = (why: string): void => {
    const now = resolveConfigPath(path);
    if (now === undefined) {
      deps.logger.error({ file: path, why }, 'the identity configuration is gone; the one in force stays');
      refused();
      return;
    }
    try {
      const next = read(now);
      // A jwks-file may have changed under an unchanged configuration, so only the watcher's echoes are passed over.
      if (why === fileChanged && next.text === loaded?.text) {
        deps.metrics.configReloadSuccessful.set(1);
        return;
      }
      issuers = createIssuers(next.config, deps.issuers, issuers);
      loaded = next;
      announce();
      for (const listener of listeners) listener();
      deps.metrics.configReloads.inc({ result: 'loaded' });
      deps.logger.info({ file: now, why, issuers: issuers.list().length }, 'identity configuration loaded anew');
    } catch (error) {
      refused();
      deps.logger.error({ file: now, why }, `identity configuration refused, the old one stays: ${messageOf(error)}`);
    }
  };
  const watcher = watchDirectory(dirname(file ?? path), [basename(file ?? path), '..data'], () =>
    reload('file changed'),
  );
  return {
    current: () => issuers,
    missing: () => (issuers.list().length === 0 ? noIssuers(file, path) : undefined),
    reload,
    onChange: (listener) => void listeners.push(listener),
    close: () => watcher?.close(),
  };
}

function read(file: string): { text: string; config: IdentityConfig } {
  const text = readFileSync(file, 'utf8');
  return { text, config: parseIdentityConfig(text, file) };
}

/** Fulcio falls back from config.yaml to config.json beside it. */
function resolveConfigPath(path: string): string | undefined {
  return [path, path.replace(/\.ya?ml$/, '.json')].find((candidate) => existsSync(candidate));
}

function noIssuers(file: string | undefined, path: string): string {
  const where = file === undefined ? `there is no file ${path}` : `${file} names no issuer`;
  return `no identity configuration, so no token is accepted: ${where}; name one with --config-path`;
}

/** Watches the directory, because a mounted ConfigMap swaps the symlink `..data` and never touches the file itself. */
export function watchDirectory(
  directory: string,
  names: readonly string[],
  onChange: () => void,
): FSWatcher | undefined {
  if (!existsSync(directory)) return undefined;
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(directory, { persistent: false }, (_event, name) => {
    if (name !== null && !names.includes(name)) return;
    clearTimeout(timer);
    timer = setTimeout(onChange, settleMs);
    timer.unref();
  });
  watcher.on('error', () => watcher.close());
  return watcher;
}
