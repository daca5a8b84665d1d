import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { decodeJwt } from 'jose';
import { parse } from 'yaml';
import { choosePorts } from '../../src/cli/quickstart-ports.js';
import {
  type QuickstartDeps,
  type QuickstartOptions,
  quickstartCommand,
  tokenCommand,
} from '../../src/cli/quickstart-run.js';
import { ensureConfig, freePort, newState, readState, writeState } from '../../src/cli/quickstart-state.js';
import type { CommandIo } from '../../src/cli/request-io.js';
import { writeTrustFiles } from '../../src/trust/write.js';
import { createLab, type FakeServerOptions, startFakeServer } from './request-lab.js';

const lab = createLab();

let directory: string;
let printed: { out: string; err: string };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mayfly-quickstart-'));
  printed = { out: '', err: '' };
});

afterEach(() => rm(directory, { recursive: true }));

const io: CommandIo = {
  out: (text) => {
    printed.out += text;
  },
  err: (text) => {
    printed.err += text;
  },
  readStdin: async () => '',
  env: {},
  fetch,
  now: () => new Date(),
  colour: false,
  interactive: false,
  openBrowser: async () => false,
};

async function occupy(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** The lab in place of the real server: writes the trust files and speaks the API on the port it is given. */
function deps(fake: FakeServerOptions = {}, untilStopped: () => Promise<void> = async () => undefined) {
  const started: Readonly<Record<string, string>>[] = [];
  const given: QuickstartDeps = {
    program: 'mayfly',
    untilStopped,
    startServer: async (flags) => {
      started.push(flags);
      const validFor = { start: new Date('2024-01-01') };
      const uri = flags['public-url'] ?? '';
      await writeTrustFiles(join(flags['data-dir'] ?? '', 'trust'), {
        cas: [{ chain: [lab.issuing, lab.root], uri, validFor, operator: 'lab' }],
        ctLogs: [{ baseUrl: `${uri}/ctlog`, publicKey: lab.logSpki, validFor, operator: 'lab' }],
      });
      return startFakeServer(lab, { ...fake, port: Number(flags.port) });
    },
  };
  return { started, deps: given };
}

const options = (rest: Partial<QuickstartOptions> = {}): QuickstartOptions => ({
  dataDir: directory,
  once: true,
  port: '0',
  grpcPort: '0',
  metricsPort: '0',
  oidcPort: '0',
  ...rest,
});

describe('mayfly quickstart', () => {
  test('gets a token and a certificate, checks it, and prints what to try next', async () => {
    const { started, deps: given } = deps();
    expect(await quickstartCommand(options(), io, given)).toBe(0);
    const [flags] = started;
    expect(flags).toMatchObject({
      host: '127.0.0.1',
      'data-dir': directory,
      'public-url': `http://127.0.0.1:${flags?.port}`,
    });
    expect(printed.out).toMatch(/identity +jane@example.com \(email\)/);
    expect(printed.out).toMatch(/log index +0\n/);
    for (const check of ['key', 'chain', 'validity', 'usage', 'sct', 'inclusion']) {
      expect(printed.out).toMatch(new RegExp(`  ${check} +ok`));
    }
    expect(printed.out).toContain('cosign sign-blob');
    expect(printed.out).toContain(`--trusted-root ${join(directory, 'trust', 'trusted_root.json')}`);
    expect(printed.out).not.toContain('\u001b');
    const token = join(directory, 'identity-token');
    expect((await stat(token)).mode & 0o777).toBe(0o600);
    const text = await readFile(token, 'utf8');
    // cosign sends what the file holds, a newline included.
    expect(text).toBe(text.trim());
    const claims = decodeJwt(text);
    expect(claims).toMatchObject({ aud: 'sigstore', email: 'jane@example.com', email_verified: true });
    expect(await readFile(join(directory, 'config.yaml'), 'utf8')).toContain(String(claims.iss));
    expect(await readFile(join(directory, 'demo', 'hello.txt'), 'utf8')).not.toBe('');
  });

  test('a second run finds the ports of the first and keeps the provider', async () => {
    const first = deps();
    await quickstartCommand(options(), io, first.deps);
    const state = await readState(directory);
    const second = deps();
    const { port: _port, oidcPort: _oidcPort, ...rest } = options();
    expect(await quickstartCommand(rest, io, second.deps)).toBe(0);
    expect(second.started[0]?.['public-url']).toBe(first.started[0]?.['public-url']);
    expect(await readState(directory)).toEqual(state);
  });

  test('gives new tokens while it runs, and says so when it does not', async () => {
    let token = '';
    const { deps: given } = deps({}, async () => {
      printed.out = '';
      expect(await tokenCommand(directory, io)).toBe(0);
      token = printed.out.trim();
    });
    expect(await quickstartCommand(options({ once: false }), io, given)).toBe(0);
    expect(decodeJwt(token)).toMatchObject({ sub: 'jane@example.com' });
    expect((await readFile(join(directory, 'identity-token'), 'utf8')).trim()).toBe(token);
    expect(await tokenCommand(directory, io)).toBe(1);
    expect(printed.err).toContain('is the quickstart running?');
  });

  test('ends with 1 and shows the check that failed', async () => {
    const { deps: given } = deps({ issue: { withSct: false } });
    expect(await quickstartCommand(options(), io, given)).toBe(1);
    expect(printed.out).toMatch(/sct +FAILED/);
    expect(printed.err).toContain('failed a check');
  });

  test('a log that does not answer is a failure here', async () => {
    const { deps: given } = deps({ withoutLog: true });
    expect(await quickstartCommand(options(), io, given)).toBe(1);
  });

  test('closes what it started when the server does not start', async () => {
    const startServer = async (): Promise<never> => {
      throw new Error('no server today');
    };
    const failing = { ...deps().deps, startServer };
    await expect(quickstartCommand(options(), io, failing)).rejects.toThrow('no server today');
    const state = await readState(directory);
    (await occupy(state?.oidcPort ?? 0)).close();
  });

  test.each([
    ['--port', { port: '99999' }],
    ['--grpc-port', { grpcPort: 'x' }],
  ])('refuses a wrong %s with 2', async (flag, wrong) => {
    expect(await quickstartCommand(options(wrong), io, deps().deps)).toBe(2);
    expect(printed.err).toContain(`${flag} is "`);
  });

  test('says what to do about a state file it cannot read', async () => {
    await writeFile(join(directory, 'quickstart.json'), '{}');
    expect(await quickstartCommand(options(), io, deps().deps)).toBe(1);
    expect(printed.err).toContain(`remove ${directory} to start anew`);
  });
});

describe('choosePorts', () => {
  test('takes another port for a taken one at the first start, and says so', async () => {
    const taken = await occupy(0);
    const ports = await choosePorts({ http: portOf(taken), grpc: 0, metrics: 0, oidc: 0 }, undefined, directory, io);
    expect(ports.http).not.toBe(portOf(taken));
    expect(printed.err).toBe(`port ${portOf(taken)} is taken; HTTP uses ${ports.http} instead\n`);
    taken.close();
  });

  test('never gives one port twice', async () => {
    const port = await freePort();
    const ports = await choosePorts({ http: port, grpc: port, metrics: port, oidc: port }, undefined, directory, io);
    expect(new Set(Object.values(ports)).size).toBe(4);
  });

  test('refuses to move an instance from the port in its URL', async () => {
    const taken = await occupy(0);
    const state = await newState(portOf(taken), await freePort());
    await expect(choosePorts({}, state, directory, io)).rejects.toMatchObject({
      exitCode: 1,
      message: expect.stringContaining(`port ${portOf(taken)} is taken`),
    });
    await expect(choosePorts({ http: 1 }, state, directory, io)).rejects.toThrow('leave --port out');
    taken.close();
  });
});

describe('ensureConfig', () => {
  const [one, two] = ['http://127.0.0.1:9001', 'http://127.0.0.1:9002'];
  const path = (): string => join(directory, 'config.yaml');

  test('writes an identity configuration for the demo provider', async () => {
    await ensureConfig(path(), one, undefined);
    expect(parse(await readFile(path(), 'utf8'))).toEqual({
      'oidc-issuers': { [one]: { 'issuer-url': one, 'client-id': 'sigstore', type: 'email' } },
    });
  });

  test('follows the provider to another port', async () => {
    await ensureConfig(path(), one, undefined);
    await ensureConfig(path(), two, one);
    expect(await readFile(path(), 'utf8')).toContain(`${two}:`);
    expect(await readFile(path(), 'utf8')).not.toContain(one);
  });

  test('leaves an edited file alone, and refuses one without the provider', async () => {
    await writeFile(path(), `# mine\n# ${one}\n`);
    await ensureConfig(path(), one, one);
    expect(await readFile(path(), 'utf8')).toContain('# mine');
    await expect(ensureConfig(path(), two, one)).rejects.toThrow(`does not name the demo provider ${two}`);
  });
});

test('the state of a quickstart is for its user only, and comes back as written', async () => {
  const state = await newState(8080, 8090);
  expect(await readState(directory)).toBeUndefined();
  await writeState(directory, state);
  expect(await readState(directory)).toEqual(state);
  expect((await stat(join(directory, 'quickstart.json'))).mode & 0o777).toBe(0o600);
});
