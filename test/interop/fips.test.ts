import { access, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, projectDir, run } from './command.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { makeCa } from './openssl-ca.js';

const jane = 'jane@example.com';
const main = resolve(projectDir, 'dist/main.js');

let lab: Lab;
let issuer: OidcIssuer;
/** What makes any Node.js with OpenSSL 3 run in FIPS mode, as docs/trust.md has it. */
let fipsMode: Record<string, string>;

beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: jane, email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
  fipsMode = await fipsEnvironment(lab.dir);
});
afterAll(() => lab.close());

/** The configuration of docs/trust.md around the provider that setup.sh fetches. */
async function fipsEnvironment(dir: string): Promise<Record<string, string>> {
  const modules = resolve(projectDir, '.cache/interop/fips');
  await access(join(modules, 'fips.so')).catch((cause: unknown) => {
    throw new Error(`${modules} has no fips.so; run test/interop/setup.sh fips first`, { cause });
  });
  const [moduleConf, conf] = [join(dir, 'fipsmodule.cnf'), join(dir, 'openssl-fips.cnf')];
  await mustRun('openssl', ['fipsinstall', '-module', join(modules, 'fips.so'), '-out', moduleConf], { cwd: dir });
  await writeFile(
    conf,
    `nodejs_conf = node
.include ${moduleConf}
[node]
providers = providers
[providers]
fips = fips_sect
base = base
[base]
activate = 1
`,
  );
  return { OPENSSL_CONF: conf, OPENSSL_MODULES: modules, NODE_OPTIONS: '--force-fips' };
}

describe('a server whose OpenSSL is in FIPS mode', () => {
  let ca: CaServer;
  beforeAll(async () => {
    const flags = ['--fips', '--tsa'];
    const dir = join(lab.dir, 'instance');
    ca = lab.keep(await startCa({ dir, config: emailIssuerConfig(issuer.url), log: true, flags, env: fipsMode }));
  });

  const request = async (algorithm: string, ...more: string[]) => {
    const token = await issuer.idToken(jane);
    const args = ['request', '--url', ca.url, '--identity-token', token, '--key-algorithm', algorithm, '--force'];
    return run(process.execPath, [main, ...args, ...more], { cwd: lab.dir });
  };

  test.each(['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'rsa-2048', 'rsa-3072', 'rsa-4096'])(
    'certifies a key of %s',
    async (algorithm) => {
      const { code, stdout } = await request(algorithm);
      expect(stdout).toMatch(/chain +ok.*\n.*\n.*\n +sct +ok/);
      expect(code).toBe(0);
    },
  );

  test('takes a certificate signing request', async () => {
    expect((await request('ecdsa-p256', '--csr')).code).toBe(0);
  });

  test('certifies no Ed25519 key', async () => {
    const { code, stderr } = await request('ed25519');
    expect(stderr).toContain('found a key for Ed25519; this server takes ECDSA P-256');
    expect(code).toBe(1);
  });

  test('gives timestamps that openssl verifies', async () => {
    const openssl = (...args: string[]) => mustRun('openssl', args, { cwd: lab.dir });
    await writeFile(join(lab.dir, 'blob'), 'a file to sign\n');
    await openssl('ts', '-query', '-data', 'blob', '-sha512', '-cert', '-out', 'query');
    const sent = ['-sS', '-H', 'Content-Type: application/timestamp-query', '--data-binary', '@query', '-o', 'reply'];
    await mustRun('curl', [...sent, `${ca.url}/api/v1/timestamp`], { cwd: lab.dir });
    const chain = join(ca.trustDir, 'tsa.pem');
    await openssl('ts', '-verify', '-queryfile', 'query', '-in', 'reply', '-CAfile', chain);
  });
});

describe('serve --fips', () => {
  const serve = async (dir: string, env: Record<string, string>, ...flags: string[]) => {
    const config = join(lab.dir, 'config.yaml');
    await writeFile(config, emailIssuerConfig(issuer.url));
    const data = ['--data-dir', join(lab.dir, dir), '--public-url', 'http://127.0.0.1:1', '--config-path', config];
    const ports = ['--host', '127.0.0.1', '--port', '0', '--grpc-port', '0', '--metrics-port', '0'];
    return run(process.execPath, [main, 'serve', '--fips', ...data, ...ports, ...flags], { cwd: lab.dir, env });
  };

  test('does not start, and writes nothing, with the same OpenSSL out of FIPS mode', async () => {
    const { NODE_OPTIONS: _force, ...ready } = fipsMode;
    const { code, stderr } = await serve('refused', ready);
    expect(stderr).toMatch(/^mayfly: --fips: OpenSSL [\d.]+ of this Node.js is not in FIPS mode .*--force-fips/);
    expect(code).toBe(1);
    await expect(access(join(lab.dir, 'refused'))).rejects.toThrow('ENOENT');
  });

  test('does not start with a CA key of Ed25519', async () => {
    const dir = join(lab.dir, 'ed25519');
    await mkdir(dir);
    const { keyPath, chainPath, password } = await makeCa(dir, 'Ed25519', 'with intermediate');
    const files = ['--fileca-cert', chainPath, '--fileca-key', keyPath, '--fileca-key-passwd', password];
    const { code, stderr } = await serve('ed25519-data', fipsMode, '--ca', 'fileca', ...files);
    expect(stderr).toContain('--fips: the key of the CA is ed25519, which is not approved here');
    expect(code).toBe(1);
  });
});
