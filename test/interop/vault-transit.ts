import { toolPath } from './command.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** The transit engine of HashiCorp Vault (test/interop/vault-transit), which forgets its keys when it ends. */
export interface VaultTransit {
  /** What a program needs in its environment to find it and be let in. */
  readonly env: Readonly<Record<string, string>>;
  /** GET or POST under the engine's path; the `data` of the answer, or {} where there is none. Throws unless it is 2xx. */
  call(path: string, body?: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>;
  /** Ends it by SIGKILL. */
  kill(): Promise<void>;
  isRunning(): boolean;
  /** Starts it again, without keys, at the same address. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

const token = 'interop-token';
const mount = 'keys/transit';
const namespace = 'interop';

/** Starts vault-transit, which test/interop/setup.sh builds. */
export async function startVaultTransit(dir: string): Promise<VaultTransit> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const start = () =>
    startServer({
      name: 'vault-transit',
      command: toolPath('bin/vault-transit'),
      args: [`127.0.0.1:${port}`, token, mount, namespace],
      cwd: dir,
      readyUrl: `${url}/v1/sys/health`,
    });
  let server: RunningServer | undefined = await start();
  return {
    env: { VAULT_ADDR: url, VAULT_TOKEN: token, VAULT_NAMESPACE: namespace, TRANSIT_SECRET_ENGINE_PATH: mount },
    async call(path, body) {
      const response = await fetch(`${url}/v1/${mount}/${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { 'x-vault-token': token, 'x-vault-namespace': namespace },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
      return text === '' ? {} : (JSON.parse(text) as { data: Record<string, unknown> }).data;
    },
    async kill() {
      if (server === undefined) return;
      process.kill(server.pid, 'SIGKILL');
      await server.close();
      server = undefined;
    },
    isRunning: () => server !== undefined,
    async restart() {
      server = await start();
    },
    async close() {
      await server?.close();
    },
  };
}
