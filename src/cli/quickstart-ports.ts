import { freePort, isPortFree, type QuickstartState } from './quickstart-state.js';
import { CommandError, type CommandIo } from './request-io.js';

export interface QuickstartPorts {
  readonly http: number;
  readonly grpc: number;
  readonly metrics: number;
  readonly oidc: number;
}

const defaults: QuickstartPorts = { http: 8080, grpc: 8081, metrics: 2112, oidc: 8090 };

const purposes: Readonly<Record<keyof QuickstartPorts, string>> = {
  http: 'HTTP',
  grpc: 'gRPC',
  metrics: 'metrics',
  oidc: 'the demo identity provider',
};

/**
 * The ports of this run: those asked for, else those of the last run, else the defaults; a taken one gives way to a free
 * one, and that is said. Only HTTP's never changes after the first run, because it is part of the instance's URL.
 * @throws CommandError 1 when the instance's HTTP port is taken or another one is asked for.
 */
export async function choosePorts(
  requested: Partial<QuickstartPorts>,
  state: QuickstartState | undefined,
  dataDir: string,
  io: Pick<CommandIo, 'err'>,
): Promise<QuickstartPorts> {
  const used = new Set<number>();
  const choose = async (name: keyof QuickstartPorts, wanted: number): Promise<number> => {
    const free = wanted !== 0 && !used.has(wanted) && (await isPortFree(wanted));
    const port = free ? wanted : await freePort();
    if (!free && wanted !== 0) io.err(`port ${wanted} is taken; ${purposes[name]} uses ${port} instead\n`);
    used.add(port);
    return port;
  };
  if (state !== undefined) {
    await requireFixedPort(requested.http, state.httpPort, dataDir);
    used.add(state.httpPort);
  }
  return {
    http: state?.httpPort ?? (await choose('http', requested.http ?? defaults.http)),
    grpc: await choose('grpc', requested.grpc ?? defaults.grpc),
    metrics: await choose('metrics', requested.metrics ?? defaults.metrics),
    oidc: await choose('oidc', requested.oidc ?? state?.oidcPort ?? defaults.oidc),
  };
}

async function requireFixedPort(requested: number | undefined, fixed: number, dataDir: string): Promise<void> {
  if (requested !== undefined && requested !== fixed) {
    throw new CommandError(
      1,
      `--port is ${requested}, but the instance in ${dataDir} is known under port ${fixed}, which is in its certificates' ` +
        'log for good; leave --port out, or give another --data-dir',
    );
  }
  if (await isPortFree(fixed)) return;
  throw new CommandError(
    1,
    `port ${fixed} is taken, and the instance in ${dataDir} is known under it; stop what uses it (another quickstart?), ` +
      'or give another --data-dir',
  );
}
