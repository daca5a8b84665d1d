import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { startServer } from '../server/start.js';
import { loginWithBrowser } from './login.js';
import { headlessBrowser } from './quickstart-browser.js';
import { choosePorts, type QuickstartPorts } from './quickstart-ports.js';
import { demoClientId, startDemoProvider } from './quickstart-provider.js';
import { endText, reportText } from './quickstart-report.js';
import {
  demoHost,
  ensureConfig,
  newState,
  type QuickstartState,
  quickstartPaths,
  readState,
  writePrivate,
  writeState,
} from './quickstart-state.js';
import { parsePort } from './request.js';
import { type ObtainedCertificate, obtainCertificate } from './request-certificate.js';
import { CommandError, type CommandIo, processIo } from './request-io.js';
import { loadTrust } from './request-trust.js';
import { stopSignal } from './serve.js';

/** The options of `mayfly quickstart`, as commander gives them. */
export interface QuickstartOptions {
  readonly dataDir: string;
  readonly once?: boolean;
  readonly port?: string;
  readonly grpcPort?: string;
  readonly metricsPort?: string;
  readonly oidcPort?: string;
}

export interface QuickstartDeps {
  /** Starts a server from the flags of `mayfly serve`. */
  readonly startServer: (flags: Readonly<Record<string, string>>) => Promise<{ close(): Promise<void> }>;
  /** Resolves when the user wants the demo to end. */
  readonly untilStopped: () => Promise<void>;
  /** How this program was called, for the commands to copy. */
  readonly program: string;
}

/** The demo person: a reserved domain (RFC 2606), so nobody's address. */
const demoEmail = 'jane@example.com';
const defaultDataDir = './quickstart-data';
const loginTimeoutMs = 10_000;
const artifact = 'Hello from Mayfly\n';

/** `mayfly quickstart` and `mayfly quickstart token`. */
export function registerQuickstart(program: Command, done: (code: number) => void): void {
  const quickstart = program
    .command('quickstart')
    .description('run a demo instance with its own identity provider, and get a first certificate from it')
    .option('--data-dir <dir>', 'directory of the demo: keys, log, trust files, provider', defaultDataDir)
    .option('--once', 'end after the first certificate instead of serving on')
    .option('--port <port>', 'HTTP port at the first start (default: 8080, or a free one)')
    .option('--grpc-port <port>', 'gRPC port (default: 8081, or a free one)')
    .option('--metrics-port <port>', 'metrics port (default: 2112, or a free one)')
    .option('--oidc-port <port>', 'port of the demo identity provider (default: 8090, or a free one)')
    .action(async (options: QuickstartOptions) => {
      const deps: QuickstartDeps = {
        // A demo shows the same on every machine: the environment's FULCIO_SERVE_* are for the real server.
        startServer: (flags) => startServer(flags, { environment: {} }),
        untilStopped: stopSignal,
        program: 'node dist/main.js',
      };
      done(await quickstartCommand(options, processIo(), deps));
    });
  quickstart
    .command('token')
    .description('print a new identity token of the demo person, from the quickstart that is running')
    .option('--data-dir <dir>', 'directory of the demo', defaultDataDir)
    // commander gives an option that both commands know to the parent; globals are where the two meet.
    .action(async (_options: unknown, command: Command) => {
      done(await tokenCommand(command.optsWithGlobals<Pick<QuickstartOptions, 'dataDir'>>().dataDir, processIo()));
    });
}

/**
 * Runs the demo and returns its exit code. Throws AppError STARTUP when the server cannot start; everything that was
 * started is closed again, whatever happens.
 */
export async function quickstartCommand(
  options: QuickstartOptions,
  io: CommandIo,
  deps: QuickstartDeps,
): Promise<number> {
  const running: { close(): Promise<void> }[] = [];
  try {
    const { dataDir } = options;
    const before = await readState(dataDir);
    const ports = await choosePorts(requestedPorts(options), before, dataDir, io);
    const state = { ...(before ?? (await newState(ports.http, ports.oidc))), oidcPort: ports.oidc };
    const paths = quickstartPaths(dataDir);
    await mkdir(dataDir, { recursive: true });
    await ensureConfig(paths.config, issuerOf(state), before === undefined ? undefined : issuerOf(before));
    await writeState(dataDir, state);
    running.push(await startDemoProvider({ ...state, issuer: issuerOf(state), email: demoEmail }));
    running.push(await deps.startServer(serverFlags(dataDir, ports)));

    const token = await logIn(state, io);
    await writePrivate(paths.token, `${token}\n`);
    const url = urlOf(ports.http);
    const trust = await loadTrust({ url, trustedRoot: paths.trustedRoot }, io);
    const obtained = await obtainCertificate({ url, token, keyAlgorithm: 'ecdsa-p256', csr: false, trust }, io);
    const good = isGood(obtained);
    await requireFile(paths.signingConfig);
    await mkdir(paths.demo, { recursive: true });
    await writeFile(join(paths.demo, 'hello.txt'), artifact);

    const { program } = deps;
    io.out(
      reportText({
        dataDir,
        ports,
        url,
        issuer: issuerOf(state),
        email: demoEmail,
        program,
        obtained,
        colour: io.colour,
      }),
    );
    if (!good) throw new CommandError(1, 'the certificate failed a check; see above');
    io.out(endText(options.once ?? false));
    if (!options.once) await deps.untilStopped();
    return 0;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    io.err(`mayfly quickstart: ${error.message}\n`);
    return error.exitCode;
  } finally {
    for (const part of running.reverse()) await part.close();
  }
}

/** In the demo nothing is missing, so a check that could not be made is a failed one. */
function isGood({ checks }: ObtainedCertificate): boolean {
  return checks.every(({ status }) => status === 'passed') && checks.some(({ name }) => name === 'inclusion');
}

/** Prints a new token of the demo person and keeps it in the token file; returns the exit code. */
export async function tokenCommand(dataDir: string, io: CommandIo): Promise<number> {
  try {
    const state = await readState(dataDir);
    if (state === undefined) throw new CommandError(1, `${dataDir} holds no quickstart; run "mayfly quickstart" first`);
    const token = await logIn(state, io);
    await writePrivate(quickstartPaths(dataDir).token, `${token}\n`);
    io.out(`${token}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    io.err(`mayfly quickstart token: ${error.message}; is the quickstart running?\n`);
    return error.exitCode;
  }
}

/** The whole authorization code flow, with a browser that has no window. */
function logIn(state: QuickstartState, io: CommandIo): Promise<string> {
  const openBrowser = (url: string): Promise<boolean> => headlessBrowser(url, io.fetch);
  const login = { issuer: issuerOf(state), clientId: demoClientId, timeoutMs: loginTimeoutMs };
  return loginWithBrowser(login, { fetch: io.fetch, openBrowser, err: () => undefined });
}

function serverFlags(dataDir: string, ports: QuickstartPorts): Record<string, string> {
  return {
    host: demoHost,
    port: String(ports.http),
    'grpc-host': demoHost,
    'grpc-port': String(ports.grpc),
    'metrics-port': String(ports.metrics),
    'data-dir': dataDir,
    'public-url': urlOf(ports.http),
    'config-path': quickstartPaths(dataDir).config,
    log_type: 'dev',
    'log-level': 'warn',
  };
}

function requestedPorts(options: QuickstartOptions): Partial<QuickstartPorts> {
  const flags = { http: '--port', grpc: '--grpc-port', metrics: '--metrics-port', oidc: '--oidc-port' } as const;
  const given = {
    http: options.port,
    grpc: options.grpcPort,
    metrics: options.metricsPort,
    oidc: options.oidcPort,
  };
  const names = Object.keys(flags) as (keyof typeof flags)[];
  return Object.fromEntries(
    names.flatMap((name) => {
      const text = given[name];
      return text === undefined ? [] : [[name, parsePort(flags[name], text)]];
    }),
  );
}

function issuerOf(state: Pick<QuickstartState, 'oidcPort'>): string {
  return urlOf(state.oidcPort);
}

function urlOf(port: number): string {
  return `http://${demoHost}:${port}`;
}

async function requireFile(path: string): Promise<void> {
  await readFile(path).catch((cause: unknown) => {
    throw new CommandError(1, `the server did not write ${path}`, cause);
  });
}
