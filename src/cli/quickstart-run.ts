import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loginWithBrowser } from './login.js';
import { headlessBrowser } from './quickstart-browser.js';
import { choosePorts, type QuickstartPorts } from './quickstart-ports.js';
import { demoClientId, startDemoProvider } from './quickstart-provider.js';
import { endText, reportText } from './quickstart-report.js';
import {
  demoHost,
  ensureConfig,
  newState,
  quickstartPaths,
  readState,
  writePrivate,
  writeState,
} from './quickstart-state.js';
import { parsePort } from './request.js';
import { type ObtainedCertificate, obtainCertificate } from './request-certificate.js';
import { CommandError, type CommandIo } from './request-io.js';
import { loadTrust } from './request-trust.js';

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
  readonly startServer: (flags: Readonly<Record<string, string>>) => Promise<Closeable>;
  /** Resolves when the user wants the demo to end. */
  readonly untilStopped: () => Promise<void>;
  /** How this program was called, for the commands to copy. */
  readonly program: string;
}

/** The demo person: a reserved domain (RFC 2606), so nobody's address. */
const demoEmail = 'jane@example.com';
const loginTimeoutMs = 10_000;
const artifact = 'Hello from Mayfly\n';

/**
 * Runs the demo and returns its exit code. Throws AppError STARTUP when the server cannot start; everything that was
 * started is closed again, whatever happens.
 */
export async function quickstartCommand(
  options: QuickstartOptions,
  io: CommandIo,
  deps: QuickstartDeps,
): Promise<number> {
  const running: Closeable[] = [];
  try {
    const demo = await startDemo(options, io, deps, running);
    const obtained = await firstCertificate(demo, io);
    await prepareArtifact(options.dataDir);
    const { dataDir, ports, url, issuer } = demo;
    const { colour } = io;
    io.out(reportText({ dataDir, ports, url, issuer, email: demoEmail, program: deps.program, obtained, colour }));
    if (!isGood(obtained)) throw new CommandError(1, 'the certificate failed a check; see above');
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

interface Closeable {
  close(): Promise<void>;
}

interface Demo {
  readonly dataDir: string;
  readonly ports: QuickstartPorts;
  readonly url: string;
  readonly issuer: string;
}

/** Starts provider and server, each put into `running` as soon as it runs. */
async function startDemo(
  options: QuickstartOptions,
  io: CommandIo,
  deps: QuickstartDeps,
  running: Closeable[],
): Promise<Demo> {
  const { dataDir } = options;
  const before = await readState(dataDir);
  const ports = await choosePorts(requestedPorts(options), before, dataDir, io);
  const state = { ...(before ?? (await newState(ports.http, ports.oidc))), oidcPort: ports.oidc };
  const issuer = urlOf(ports.oidc);
  await mkdir(dataDir, { recursive: true });
  await ensureConfig(quickstartPaths(dataDir).config, issuer, before && urlOf(before.oidcPort));
  await writeState(dataDir, state);
  running.push(await startDemoProvider({ ...state, issuer, email: demoEmail }));
  running.push(await deps.startServer(serverFlags(dataDir, ports)));
  return { dataDir, ports, url: urlOf(ports.http), issuer };
}

/** Logs in, keeps the token for the user to try, and asks for a certificate as any client does. */
async function firstCertificate({ dataDir, url, issuer }: Demo, io: CommandIo): Promise<ObtainedCertificate> {
  const paths = quickstartPaths(dataDir);
  const token = await logIn(issuer, io);
  await keepToken(dataDir, token);
  await requireFile(paths.signingConfig);
  const trust = await loadTrust({ url, trustedRoot: paths.trustedRoot }, io);
  return obtainCertificate({ url, token, keyAlgorithm: 'ecdsa-p256', csr: false, trust }, io);
}

/** Without a newline at the end: cosign sends the file as it is in a header. */
function keepToken(dataDir: string, token: string): Promise<void> {
  return writePrivate(quickstartPaths(dataDir).token, token);
}

/** A file to sign. */
async function prepareArtifact(dataDir: string): Promise<void> {
  const { demo } = quickstartPaths(dataDir);
  await mkdir(demo, { recursive: true });
  await writeFile(join(demo, 'hello.txt'), artifact);
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
    const token = await logIn(urlOf(state.oidcPort), io);
    await keepToken(dataDir, token);
    io.out(`${token}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    io.err(`mayfly quickstart token: ${error.message}; is the quickstart running?\n`);
    return error.exitCode;
  }
}

/** The whole authorization code flow, with a browser that has no window. */
function logIn(issuer: string, io: CommandIo): Promise<string> {
  const openBrowser = (url: string): Promise<boolean> => headlessBrowser(url, io.fetch);
  const login = { issuer, clientId: demoClientId, timeoutMs: loginTimeoutMs };
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
    tsa: 'true',
    page: 'true',
    log_type: 'dev',
    'log-level': 'error',
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

function urlOf(port: number): string {
  return `http://${demoHost}:${port}`;
}

async function requireFile(path: string): Promise<void> {
  await readFile(path).catch((cause: unknown) => {
    throw new CommandError(1, `the server did not write ${path}`, cause);
  });
}
