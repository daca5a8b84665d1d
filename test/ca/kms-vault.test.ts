import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type KmsSignerOptions, openKmsSigner } from '../../src/ca/kms.js';
import { type FakeVault, startFakeVault } from './kms-vault-server.js';

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;
const data = Buffer.from('a certificate to be');

let vault: FakeVault;
let dir: string;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mayfly-vault-'));
  vault = await startFakeVault(ec('P-256'));
});
afterEach(async () => {
  await vault.stop();
  rmSync(dir, { recursive: true });
});

const settings = (more: Readonly<Record<string, string>> = {}) => ({
  VAULT_ADDR: vault.address,
  VAULT_TOKEN: vault.token,
  ...more,
});

function open(environment: KmsSignerOptions['environment'] = settings(), more: Partial<KmsSignerOptions> = {}) {
  return openKmsSigner('hashivault://ca', { environment, ...more });
}

const replaceKeys = (...keys: KeyObject[]) => vault.versions.splice(0, vault.versions.length, ...keys);

test.each([
  ['P-256', ec('P-256'), 'sha256', '/sha2-256'],
  ['P-384', ec('P-384'), 'sha384', '/sha2-384'],
  ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, 'sha256', '/sha2-256'],
  ['Ed25519', generateKeyPairSync('ed25519').privateKey, null, ''],
])('a %s key of the transit engine signs', async (_, key, hash, path) => {
  replaceKeys(key);
  const signer = await open();
  expect(verify(hash, data, createPublicKey(key), await signer.sign(data))).toBe(true);
  expect(vault.requests.at(-1)?.path).toBe(`/v1/transit/sign/ca${path}`);
  expect(vault.requests.at(-1)?.body.key_version).toBe(1);
  await signer.close();
});

test('OpenBao is found by its own variables, behind a namespace and with its engine elsewhere', async () => {
  vault.namespace = 'team/one';
  vault.mount = 'pki/transit-2';
  const signer = await openKmsSigner('openbao://ca', {
    environment: {
      BAO_ADDR: `${vault.address}/`,
      BAO_TOKEN: vault.token,
      BAO_NAMESPACE: '/team/one/',
      TRANSIT_SECRET_ENGINE_PATH: 'pki/transit-2/',
    },
  });
  expect(await signer.sign(data)).toBeInstanceOf(Uint8Array);
  await signer.close();
});

test('a token in a file is read again, so that an agent can replace it', async () => {
  const file = join(dir, 'token');
  writeFileSync(file, `${vault.token}\n`);
  const signer = await open({ VAULT_ADDR: vault.address, VAULT_TOKEN_FILE: file });
  vault.token = 's.another';
  writeFileSync(file, 's.another');
  expect(await signer.sign(data)).toBeInstanceOf(Uint8Array);
  await signer.close();
});

test('without a variable the token is the one that "vault login" left in the home directory', async () => {
  writeFileSync(join(dir, '.vault-token'), vault.token);
  const signer = await open({ VAULT_ADDR: vault.address, HOME: dir });
  await signer.close();
});

test('a rotation in Vault changes nothing: the version of the start goes on signing', async () => {
  const described: string[] = [];
  const signer = await open(settings(), { onOpen: (key) => described.push(key) });
  const [first] = vault.versions;
  vault.versions.push(ec('P-256'));
  expect(first !== undefined && verify('sha256', data, createPublicKey(first), await signer.sign(data))).toBe(true);
  expect(described).toEqual([`the Vault key transit/keys/ca, version 1, at ${vault.address}`]);
  await signer.close();
});

test('a start after a rotation takes the version that belongs to the chain', async () => {
  const [first] = vault.versions;
  vault.versions.push(ec('P-256'), ec('P-384'));
  const signer = await open(settings(), { expectedKey: first && createPublicKey(first) });
  expect(first !== undefined && signer.publicKey.equals(createPublicKey(first))).toBe(true);
  await signer.close();
});

test('a start without a chain takes the newest version, beyond version 9 too', async () => {
  const keys = Array.from({ length: 11 }, () => ec('P-256'));
  replaceKeys(...keys);
  const signer = await open();
  expect(keys[10] !== undefined && signer.publicKey.equals(createPublicKey(keys[10]))).toBe(true);
  await signer.close();
});

test('a chain that no version belongs to is refused, naming the versions', async () => {
  vault.versions.push(ec('P-256'));
  const expectedKey = createPublicKey(ec('P-256'));
  await expect(open(settings(), { expectedKey })).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringContaining('none of its enabled versions (2, 1) has the public key of the first certificate'),
  });
});

test.each<[string, Readonly<Record<string, string>>, string]>([
  ['no address', { VAULT_ADDR: '' }, 'VAULT_ADDR or BAO_ADDR is not set'],
  ['an address that is none', { VAULT_ADDR: 'vault:8200' }, 'VAULT_ADDR is not the address of a server'],
  ['credentials in the address', { VAULT_ADDR: 'https://u:hunter2@v' }, 'without credentials and query'],
  ['a query in the address', { VAULT_ADDR: 'https://v/?x=1' }, 'without credentials and query'],
  ['an engine that is no path', { TRANSIT_SECRET_ENGINE_PATH: '../sys' }, 'TRANSIT_SECRET_ENGINE_PATH is not a path'],
  ['a namespace with a line break', { VAULT_NAMESPACE: 'a\r\nb' }, 'VAULT_NAMESPACE is not a path'],
  [
    'TLS that is not checked',
    { VAULT_SKIP_VERIFY: 'true' },
    'VAULT_SKIP_VERIFY would send the token to whoever answers',
  ],
  ['a TLS root that is missing', { VAULT_CACERT: '/nowhere/ca.pem' }, 'VAULT_CACERT: cannot read /nowhere/ca.pem'],
  ['half a client certificate', { VAULT_CLIENT_CERT: '/dev/null' }, 'go together'],
  ['no token', { VAULT_TOKEN: '', HOME: '/nowhere' }, 'cannot read /nowhere/.vault-token'],
  ['no token and no home', { VAULT_TOKEN: '', HOME: '' }, 'there is no Vault token'],
  ['a token with a line break', { VAULT_TOKEN: 'hunter2\r\nx: y' }, 'VAULT_TOKEN holds no token'],
  ['a wrong token', { VAULT_TOKEN: 'hunter2' }, 'Vault answered 403: permission denied'],
  ['a wrong engine', { TRANSIT_SECRET_ENGINE_PATH: 'other' }, 'other/keys/ca: Vault answered 404'],
])('a start with %s is refused', async (_, environment, message) => {
  const error: unknown = await open(settings(environment)).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'STARTUP', detail: expect.stringMatching(/^--kms-resource: /) });
  expect(error).toMatchObject({ detail: expect.stringContaining(message) });
  expect(error).not.toMatchObject({ detail: expect.stringContaining('hunter2') });
});

const json = (body: unknown, status = 200, headers: Readonly<Record<string, string>> = {}) => ({
  status,
  body,
  headers,
});

test.each([
  ['an answer that is not JSON', json('<html>'), `Vault's answer is not a JSON object with "data"`],
  ['JSON null', json('null'), 'not a JSON object with "data"'],
  [
    'a symmetric key',
    json({ data: { type: 'aes256-gcm96', latest_version: 1, keys: { 1: 1700000000 } } }),
    'not a key that signs',
  ],
  ['a key without versions', json({ data: { type: 'ecdsa-p256', latest_version: 1, keys: {} } }), 'no enabled version'],
  [
    'versions that are no numbers',
    json({ data: { type: 'ecdsa-p256', latest_version: 1, keys: { x: { public_key: '' } } } }),
    'not a key that signs',
  ],
  [
    'a public key that is none',
    json({ data: { type: 'ecdsa-p256', latest_version: 1, keys: { 1: { public_key: 'x' } } } }),
    'transit/keys/ca',
  ],
  [
    'a redirect',
    json('', 307, { location: 'https://evil.example/v1/x' }),
    'Vault answered 307 and the location https://evil.example',
  ],
  ['a sealed server', json({ errors: ['Vault is sealed'] }, 503), 'Vault answered 503: Vault is sealed'],
  ['an endless answer', json('x'.repeat(2 ** 21)), 'longer than 1048576 bytes'],
  [
    'errors over many lines',
    json({ errors: ['1 error:\n\t* no', `y${'z'.repeat(9000)}`] }, 400),
    'Vault answered 400: 1 error: * no; yzz',
  ],
])('%s at the start is refused', async (_, answer, message) => {
  vault.instead = () => answer;
  const error = (await open().catch((thrown: unknown) => thrown)) as { code: string; detail: string };
  expect(error).toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(message) });
  expect(error.detail.length).toBeLessThan(1000);
});

test.each([
  ['of another version', 'vault:v2:AAAA', 'version 2 of the key signed; expected version 1'],
  ['in another form', 'AAAA', 'not of the form vault:vN:BASE64'],
  ['that is not right', 'vault:v1:MAYCAQECAQE=', 'returned a signature that does not verify with its public key'],
])('a signature %s is refused', async (_, signature, message) => {
  vault.instead = ({ method }) => (method === 'POST' ? json({ data: { signature } }) : undefined);
  await expect(open()).rejects.toMatchObject({ detail: expect.stringContaining(message) });
});

test('while Vault is away signing fails at once with 503, and by itself goes on when it is back', async () => {
  const changes: string[] = [];
  const signer = await open(settings(), { onChange: ({ to }) => changes.push(to) });
  await vault.stop();
  await expect(signer.sign(data)).rejects.toMatchObject({ code: 'SIGNER_UNAVAILABLE', httpStatus: 503 });
  expect(signer.trouble?.()).toMatch(/ECONNREFUSED/);
  await vault.start();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      if (signer.trouble?.() !== undefined) return;
      clearInterval(timer);
      resolve();
    }, 20);
  });
  expect(verify('sha256', data, signer.publicKey, await signer.sign(data))).toBe(true);
  expect(changes).toEqual(['checking', 'down', 'up']);
  await signer.close();
});
