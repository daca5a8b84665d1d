import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { emailIssuerConfig, startCa } from './ca-server.js';
import { type Finished, mustRun, projectDir, run } from './command.js';
import { signBlob, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import type { CaFiles } from './openssl-ca.js';
import { ownTrustFiles } from './trust-files.js';

const jane = 'jane@example.com';
const passphrase = 'six words that nobody would guess';
const mayfly = resolve(projectDir, 'dist/main.js');

let lab: Lab;
let issuer: OidcIssuer;
beforeAll(async () => {
  lab = await openLab();
  const accounts = [{ sub: 'account-4711', email: jane, email_verified: true }];
  issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts }));
});
afterAll(() => lab.close());

const env = { MAYFLY_ROOT_PASSPHRASE: passphrase };
const ca = (cwd: string, more: Readonly<Record<string, string>>, ...args: string[]): Promise<Finished> =>
  mustRun(process.execPath, [mayfly, 'ca', ...args], { cwd, env: { ...env, ...more } });

/** A directory of its own for a test. */
async function place(name: string): Promise<string> {
  const dir = join(lab.dir, name.replaceAll(/\W+/g, '-'));
  await mkdir(dir);
  return dir;
}

interface Made {
  /** Where the root ended up; absent when a server has it all in its data directory. */
  readonly files?: CaFiles;
  readonly flags: readonly string[];
}

/** Ways to a CA; each leaves `DIR/data`, or files, for the server. */
const ceremonies: Readonly<Record<string, (dir: string) => Promise<Made>>> = {
  async 'ca init with a timestamp authority under the same root'(dir) {
    await ca(dir, {}, 'init', '--data-dir', 'data', '--tsa', '--organization', 'Example');
    return { flags: ['--tsa'] };
  },
  async 'ca init with RSA-4096, P-384 and a timestamp root of its own'(dir) {
    const kinds = ['--root-key-type', 'RSA-4096', '--issuing-key-type', 'P-384', '--tsa-key-type', 'P-384'];
    await ca(dir, {}, 'init', '--data-dir', 'data', '--tsa-own-root', ...kinds);
    return { flags: ['--tsa'] };
  },
  async 'ca init with an encrypted RSA-3072 issuing key'(dir) {
    const kinds = ['--root-key-type', 'P-521', '--issuing-key-type', 'RSA-3072'];
    await ca(dir, { MAYFLY_ISSUING_PASSPHRASE: passphrase }, 'init', '--data-dir', 'made', ...kinds, '--tsa');
    const files = {
      chainPath: join(dir, 'made/ca/chain.pem'),
      keyPath: join(dir, 'made/ca/key.pem'),
      password: passphrase,
    };
    const [tsaKey, tsaChain] = [join(dir, 'made/keys/tsa/key.pem'), join(dir, 'made/keys/tsa/chain.pem')];
    return { files, flags: ['--tsa', '--tsa-key', tsaKey, '--tsa-cert-chain', tsaChain] };
  },
  async 'ca csr and ca sign, root and issuing CA apart'(dir) {
    await ca(dir, {}, 'init', '--data-dir', 'offline-machine', '--root-only');
    const parent = ['--ca', 'offline-machine/offline/root.pem', '--ca-key', 'offline-machine/offline/root.key.pem'];
    for (const role of ['issuing', 'timestamping']) {
      await ca(dir, {}, 'csr', '--for', role, '--key-out', `${role}.key`, '--out', `${role}.csr`);
      await ca(dir, {}, 'sign', '--for', role, '--csr', `${role}.csr`, ...parent, '--out', `${role}.pem`, '--yes');
      await ca(dir, {}, 'verify', `${role}.pem`, '--key', `${role}.key`);
    }
    await ca(dir, {}, 'add', '--data-dir', 'data', '--chain', 'issuing.pem', '--key', 'issuing.key');
    const [tsaKey, tsaChain] = [join(dir, 'timestamping.key'), join(dir, 'timestamping.pem')];
    return { flags: ['--tsa', '--tsa-key', tsaKey, '--tsa-cert-chain', tsaChain] };
  },
};

test.each(Object.keys(ceremonies))('cosign and openssl verify what comes of %s', async (name) => {
  const dir = await place(name);
  const { files, flags } = (await ceremonies[name]?.(dir)) ?? { flags: [] };
  const config = emailIssuerConfig(issuer.url);
  const server = lab.keep(await startCa({ dir, config, log: true, flags, ...(files && { files }) }));
  const trust = ownTrustFiles(server.trustDir);
  const file = join(dir, 'blob');
  await writeFile(file, 'a file to sign\n');

  const bundle = await signBlob(dir, trust, await issuer.idToken('account-4711'), file);
  const expected = { identity: jane, issuerUrl: issuer.url, timestamped: true, logged: true };
  const good = await verifyBlob(dir, trust.trustedRoot, bundle, file, expected);
  expect(good).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });

  const { verificationMaterial } = JSON.parse(await readFile(bundle, 'utf8'));
  await writeFile(join(dir, 'leaf.der'), Buffer.from(verificationMaterial.certificate.rawBytes, 'base64'));
  await mustRun('openssl', ['x509', '-inform', 'DER', '-in', 'leaf.der', '-out', 'leaf.pem'], { cwd: dir });
  const chain = join(server.trustDir, 'ca.pem');
  const verified = await mustRun('openssl', ['verify', '-x509_strict', '-CAfile', chain, 'leaf.pem'], { cwd: dir });
  expect(verified.stdout).toBe('leaf.pem: OK\n');
});

test("a company's CA made of openssl signs a request of ca csr, and ca verify says whether it came out right", async () => {
  const dir = await place('company');
  const openssl = (...args: string[]) => mustRun('openssl', args, { cwd: dir });
  await openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:3072',
    '-nodes',
    '-days',
    '3650',
    '-subj',
    '/C=DE/O=Company/CN=Root',
    '-keyout',
    'root.key',
    '-out',
    'root.pem',
  );
  await ca(dir, {}, 'csr', '--key-out', 'ca.key', '--out', 'ca.csr', '--organization', 'Company');
  const sign = (out: string, ...more: string[]) =>
    openssl(
      'x509',
      '-req',
      '-in',
      'ca.csr',
      '-CA',
      'root.pem',
      '-CAkey',
      'root.key',
      '-days',
      '1825',
      '-out',
      out,
      ...more,
    );
  const chainWith = async (name: string): Promise<Finished> => {
    await writeFile(
      join(dir, 'chain.pem'),
      (await readFile(join(dir, name), 'utf8')) + (await readFile(join(dir, 'root.pem'), 'utf8')),
    );
    return run(process.execPath, [mayfly, 'ca', 'verify', 'chain.pem', '--key', 'ca.key'], { cwd: dir });
  };

  await sign('forgetful.pem');
  expect(await chainWith('forgetful.pem')).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/is malformed: the certificate is not of version 3/),
  });
  await sign('good.pem', '-copy_extensions', 'copyall');
  expect((await chainWith('good.pem')).stdout).toMatch(/no errors/);
});

/** Types answers at a terminal: reads until the output ends with a question, then writes. */
const typist = `
import os, pty, sys
answers = [a.encode() for a in sys.argv[1].split('|')]
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b''
while True:
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    seen += data
    if answers and seen.rstrip(b' ').endswith((b'key:', b'again:')):
        os.write(fd, answers.pop(0) + b'\\r')
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

test('at a terminal the passphrase is asked for twice and nothing of it is shown', async () => {
  const dir = await place('terminal');
  await writeFile(join(dir, 'typist.py'), typist);
  const command = [process.execPath, mayfly, 'ca', 'init', '--data-dir', 'data'];
  const typed = await run('python3', ['typist.py', `${passphrase}|other|${passphrase}|${passphrase}`, ...command], {
    cwd: dir,
  });
  expect(typed).toMatchObject({ code: 0 });
  expect(typed.stdout).toContain('The two differ. Once more:');
  expect(typed.stdout).not.toContain(passphrase);
  const key = ['pkey', '-in', 'data/offline/root.key.pem', '-passin', `pass:${passphrase}`, '-noout'];
  await mustRun('openssl', key, { cwd: dir });
});
