import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir, run } from './command.js';
import { type Lab, openLab } from './lab.js';
import { type Moto, startMoto } from './moto.js';
import { makeCa } from './openssl-ca.js';
import { makeSoftHsm } from './softhsm.js';

const main = resolve(projectDir, 'dist/main.js');

/** A key for timestamps that is not in a file. */
interface RemoteKey {
  /** What `mayfly ca csr` needs, and what `serve` needs, to reach it. */
  readonly csr: readonly string[];
  readonly serve: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  away(): Promise<unknown>;
  back(): Promise<unknown>;
}

let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
});
afterAll(() => lab.close());

async function hsmKey(dir: string): Promise<RemoteKey> {
  const hsm = await makeSoftHsm(dir);
  await hsm.generateKey('TSA', '01', join(dir, 'tsa.pub.pem'));
  const token = ['--pkcs11-config-path', hsm.configPath];
  return {
    csr: [...token, '--hsm-key-label', 'TSA'],
    serve: [...token, '--tsa-hsm-key-label', 'TSA'],
    env: hsm.env,
    away: () => rename(hsm.tokenDir, `${hsm.tokenDir}.away`),
    back: () => rename(`${hsm.tokenDir}.away`, hsm.tokenDir),
  };
}

async function kmsKey(dir: string): Promise<RemoteKey> {
  const moto: Moto = lab.keep(await startMoto(dir));
  await moto.createKey('ECC_NIST_P384', 'alias/tsa');
  const uri = 'awskms:///alias/tsa';
  return {
    csr: ['--kms-resource', uri],
    serve: ['--tsa-kms-resource', uri],
    env: moto.env,
    away: async () => process.kill(moto.pid, 'SIGSTOP'),
    back: async () => process.kill(moto.pid, 'SIGCONT'),
  };
}

/** The ceremony of docs/keys.md: a request by the key, signed by a root that openssl made. */
async function start(dir: string, { csr, serve, env }: RemoteKey): Promise<CaServer> {
  await makeCa(dir, 'P-384', 'root only');
  const mayfly = (...args: string[]) => mustRun(process.execPath, [main, ...args], { cwd: dir, env });
  await mayfly('ca', 'csr', '--for', 'timestamping', ...csr, '--out', 'tsa.csr');
  const parent = ['--ca', 'root.pem', '--ca-key', 'root.key', '--yes', '--out', 'tsa-chain.pem'];
  await mayfly('ca', 'sign', '--for', 'timestamping', '--csr', 'tsa.csr', ...parent);
  const flags = ['--tsa', ...serve, '--tsa-cert-chain', join(dir, 'tsa-chain.pem')];
  return startCa({ dir, config: emailIssuerConfig('http://127.0.0.1:1'), log: true, flags, env });
}

test.each([
  ['SoftHSM', hsmKey],
  ['AWS KMS', kmsKey],
] as const)(
  'a key in %s gives timestamps; out of reach it is 503 and not ready, and comes back',
  async (name, make) => {
    const dir = join(lab.dir, name.replace(' ', '-'));
    await mkdir(dir);
    const key = await make(dir);
    const server = lab.keep(await start(dir, key));
    await writeFile(join(dir, 'blob'), 'a file to sign\n');
    const openssl = (...args: string[]) => run('openssl', args, { cwd: dir });
    const ask = async (): Promise<string> => {
      await openssl('ts', '-query', '-data', 'blob', '-sha384', '-cert', '-out', 'query');
      const sent = ['-sS', '-H', 'Content-Type: application/timestamp-query', '--data-binary', '@query'];
      const { stdout } = await mustRun(
        'curl',
        [...sent, '-o', 'reply', '-w', '%{http_code} %header{retry-after}', `${server.url}/api/v1/timestamp`],
        { cwd: dir },
      );
      return stdout.trim();
    };
    const verify = () =>
      openssl('ts', '-verify', '-queryfile', 'query', '-in', 'reply', '-CAfile', join(server.trustDir, 'tsa.pem'));

    /** What /readyz says once it has this status. */
    const until = async (status: number): Promise<string> => {
      for (let tries = 0; ; tries += 1) {
        const response = await fetch(`${server.url}/readyz`);
        const text = await response.text();
        if (response.status === status || tries === 120) return text;
        await sleep(250);
      }
    };

    expect(await ask()).toBe('200');
    expect(await verify()).toMatchObject({ code: 0 });

    await key.away();
    expect(await ask()).toMatch(/^503 \d+$/);
    expect((await openssl('ts', '-reply', '-in', 'reply', '-text')).stdout).toContain('cannot sign now');
    // A service that does not answer is given a second chance before it counts as down.
    expect(await until(503)).toMatch(
      /"timestamp-authority","ok":false,"reason":"the timestamp authority's key cannot sign/,
    );

    await key.back();
    await until(200);
    expect(await ask()).toBe('200');
    expect(await verify()).toMatchObject({ code: 0 });
  },
);
