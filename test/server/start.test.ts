import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createChain } from '../../src/ca/create.js';
import { trustFileNames } from '../../src/trust/write.js';
import { encodePem } from '../../src/x509/pem.js';
import { post, v2Body, v2Chain } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { emailConfig, start, startFailure, temporary } from './lab.js';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => issuer.close());

const jane = { email: 'jane@example.com', email_verified: true };

async function issueOne(url: string) {
  const answer = await post(`${url}/api/v2/signingCert`, v2Body(await issuer.token(jane), jane.email));
  expect(answer).toMatchObject({ status: 200 });
  return v2Chain(answer);
}

describe('a start without --ca', () => {
  test('makes root, intermediate and log key once, and finds them at every later start', async () => {
    const dir = temporary();
    const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) };
    const first = await start(flags);
    const [, issuing, root] = await issueOne(first.url);
    await first.close();
    // `serve` must not need the root again.
    rmSync(join(dir, 'data/offline'), { recursive: true });
    const second = await start(flags);
    const [leaf, ...chain] = await issueOne(second.url);
    await second.close();
    expect(chain.map((certificate) => certificate.fingerprint256)).toEqual([
      issuing?.fingerprint256,
      root?.fingerprint256,
    ]);
    expect(leaf?.checkIssued(issuing ?? leaf)).toBe(true);
    expect(existsSync(join(dir, 'data/offline'))).toBe(false);
  });

  test('writes the trust files, and warns that the root key lies there', async () => {
    const dir = temporary();
    const lines: string[] = [];
    const server = await start({ 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) }, lines);
    await server.close();
    const files = readdirSync(join(dir, 'data/trust')).sort();
    expect(files).toEqual(
      Object.values(trustFileNames)
        .filter((name) => name !== 'tsa.pem')
        .sort(),
    );
    expect(lines.join('')).toContain('move the directory offline/ to a safe place');
    expect(statSync(join(dir, 'data/keys')).mode & 0o777).toBe(0o700);
  });

  test('serves the trust files too', async () => {
    const dir = temporary();
    const server = await start({ 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) });
    const answer = await fetch(`${server.url}/trust/trusted_root.json`);
    expect(await answer.text()).toBe(readFileSync(join(dir, 'data/trust/trusted_root.json'), 'utf8'));
    await server.close();
  });

  test('refuses a key that others can read, naming it', async () => {
    const dir = temporary();
    const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) };
    await (await start(flags)).close();
    chmodSync(join(dir, 'data/keys/ca/key.pem'), 0o644);
    expect(await startFailure(flags)).toMatch(/keys\/ca\/key\.pem.*chmod/s);
  });

  test('keeps the public URL of the first start and refuses another', async () => {
    const dir = temporary();
    const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) };
    const first = await start({ ...flags, 'public-url': 'https://ca.example.com/' });
    expect(first.publicUrl).toBe('https://ca.example.com');
    await first.close();
    const second = await start(flags);
    expect(second.publicUrl).toBe('https://ca.example.com');
    await second.close();
    expect(await startFailure({ ...flags, 'public-url': 'https://other.example.com' })).toMatch(
      /--public-url is "https:\/\/other\.example\.com", but this data directory belongs to "https:\/\/ca\.example\.com"/,
    );
    const trustedRoot = readFileSync(join(dir, 'data/trust/trusted_root.json'), 'utf8');
    expect(trustedRoot).toContain('https://ca.example.com/ctlog');
  });
});

test('a CA with less life than one certificate starts as not ready, in the log too, and issues nothing', async () => {
  const dir = temporary();
  const almostOver = Date.now() - 1825 * 24 * 60 * 60 * 1000 + 5 * 60 * 1000;
  const made = await createChain('test', almostOver, (size) => crypto.getRandomValues(new Uint8Array(size)));
  const certificates = [made.intermediate.certificate, made.root.certificate];
  writeFileSync(join(dir, 'chain.pem'), certificates.map((der) => encodePem('CERTIFICATE', der)).join(''));
  writeFileSync(join(dir, 'key.pem'), made.intermediate.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const files = { ca: 'fileca', 'fileca-cert': join(dir, 'chain.pem'), 'fileca-key': join(dir, 'key.pem') };
  const lines: string[] = [];
  const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url), ...files };
  const server = await start(flags, lines);
  const answer = await post(`${server.url}/api/v2/signingCert`, v2Body(await issuer.token(jane), jane.email));
  const ready = await fetch(`${server.url}/readyz`);
  await server.close();
  expect(answer).toMatchObject({ status: 503, text: expect.stringContaining('CA_EXPIRING') });
  expect(ready.status).toBe(503);
  const entry = lines.map((line) => JSON.parse(line)).find(({ msg }) => /^mayfly is/.test(msg));
  expect(entry).toMatchObject({
    msg: 'mayfly is running but NOT ready',
    missing: [
      expect.stringMatching(/^certificate-authority: the issuing CA ends at .*, before a certificate issued now/),
    ],
  });
});

describe('a mistake at the start ends with one sentence that names it', () => {
  const dir = temporary();
  const chain = (async () => {
    const made = await createChain('test', Date.now(), (size) => crypto.getRandomValues(new Uint8Array(size)));
    const certificates = [made.intermediate.certificate, made.root.certificate];
    writeFileSync(join(dir, 'chain.pem'), certificates.map((der) => encodePem('CERTIFICATE', der)).join(''));
    const key = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'right' } as const;
    writeFileSync(join(dir, 'key.pem'), made.intermediate.privateKey.export(key));
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    writeFileSync(join(dir, 'other.pem'), other.export({ type: 'sec1', format: 'pem' }));
  })();
  const fileca = (changes: Record<string, string> = {}) => ({
    'data-dir': join(dir, `data-${Math.random()}`),
    'config-path': emailConfig(dir, issuer.url),
    ca: 'fileca',
    'fileca-cert': join(dir, 'chain.pem'),
    'fileca-key': join(dir, 'key.pem'),
    'fileca-key-passwd': 'right',
    ...changes,
  });

  test('fileca with the right password starts', async () => {
    await chain;
    const server = await start(fileca());
    await issueOne(server.url);
    await server.close();
  });

  test.each([
    ['a wrong password', { 'fileca-key-passwd': 'wrong' }, /--fileca-key .*key\.pem: .*password/],
    ['no password', { 'fileca-key-passwd': '' }, /--fileca-key .*key\.pem: .*(password|encrypted)/],
    ['the key of another certificate', { 'fileca-key': join(dir, 'other.pem') }, /--fileca-cert .*chain\.pem: .*key/],
    ['a key file that is missing', { 'fileca-key': join(dir, 'none.pem') }, /--fileca-key: cannot read .*none\.pem/],
    ['a chain that is no PEM', { 'fileca-cert': join(dir, 'key.pem') }, /--fileca-cert .*key\.pem/],
    ['a configuration that is missing', { 'config-path': join(dir, 'none.yaml') }, /--config-path: there is no file/],
    ['an unknown client algorithm', { 'client-signing-algorithms': 'rot13' }, /--client-signing-algorithms/],
    [
      'a log key that is none',
      { 'ct-log-url': 'http://127.0.0.1:1/x', 'ct-log-public-key-path': join(dir, 'identity.json') },
      /--ct-log-public-key-path: .* is no PEM public key/,
    ],
    [
      'TLS files that are missing',
      { 'http-tls-certificate': 'a', 'http-tls-key': 'b' },
      /--http-tls-certificate a cannot be read/,
    ],
    [
      'single use with a log that a standby may take over',
      { 'token-reuse': 'deny', 'ctlog-storage': 's3://bucket', 'ctlog-postgres': 'postgres://127.0.0.1:1/x' },
      /--token-reuse deny needs the embedded log in a directory/,
    ],
    [
      'single use without the embedded log',
      { 'token-reuse': 'deny', 'ct-log-url': '' },
      /--token-reuse deny needs the embedded log/,
    ],
  ])('%s', async (_name, changes, sentence) => {
    await chain;
    const failure = await startFailure(fileca(changes));
    expect(failure).toMatch(sentence);
    expect(failure).not.toContain('right');
    expect(failure).not.toContain('\n');
  });

  test('a port that is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((done) => taken.once('listening', done));
    const address = taken.address();
    const port = address !== null && typeof address === 'object' ? String(address.port) : '';
    for (const flag of ['port', 'metrics-port', 'grpc-port']) {
      const flags = { ...fileca(), [flag]: port };
      expect(await startFailure(flags)).toMatch(new RegExp(`--${flag}: cannot listen on 127.0.0.1:${port}: .*taken`));
    }
    taken.close();
  });

  test('a configuration with an unknown key is named with file, line and suggestion', async () => {
    const file = join(dir, 'typo.yaml');
    writeFileSync(
      file,
      'oidc-issuers:\n  https://a.example:\n    issuer-url: https://a.example\n    clientid: x\n    type: email\n',
    );
    expect(await startFailure(fileca({ 'config-path': file }))).toMatch(/typo\.yaml:4.*clientid.*client-id/);
  });

  test('a second server on the same data directory', async () => {
    const flags = fileca();
    const first = await start(flags);
    expect(await startFailure(flags)).toMatch(/another|locked|holds/);
    await first.close();
  });
});

test('a copy of a data directory serves the same CA and log', async () => {
  const dir = temporary();
  const flags = { 'config-path': emailConfig(dir, issuer.url), 'public-url': 'http://ca.test' };
  const first = await start({ ...flags, 'data-dir': join(dir, 'a') });
  await issueOne(first.url);
  await first.close();
  // Not fs.cpSync: on Node 24 it loses the modes of directories, which the start checks.
  execFileSync('cp', ['-a', join(dir, 'a'), join(dir, 'b')]);
  const second = await start({ ...flags, 'data-dir': join(dir, 'b') });
  await issueOne(second.url);
  await second.close();
});

test('with --ctlog-lock, a data directory restored from an old backup is refused, and says how to recover', async () => {
  const dir = temporary();
  const flags = {
    'config-path': emailConfig(dir, issuer.url),
    'data-dir': join(dir, 'data'),
    'ctlog-lock': join(dir, 'elsewhere/'),
  };
  const first = await start(flags);
  await issueOne(first.url);
  await first.close();
  execFileSync('cp', ['-a', join(dir, 'data'), join(dir, 'backup')]);
  const second = await start(flags);
  await issueOne(second.url);
  await second.close();
  rmSync(join(dir, 'data'), { recursive: true });
  execFileSync('cp', ['-a', join(dir, 'backup'), join(dir, 'data')]);
  expect(await startFailure(flags)).toMatch(/backup/);
});

test('without --ctlog-lock, the start warns of what would go unnoticed', async () => {
  const dir = temporary();
  const lines: string[] = [];
  const server = await start({ 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url) }, lines);
  await server.close();
  expect(lines.join('')).toContain('--ctlog-lock');
});
