import { generateKeyPairSync } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { openKmsSigner } from '../../src/ca/kms.js';
import { checkProfile } from '../../src/ca/profile-check.js';
import { csrCommand, csrDefaults } from '../../src/cli/ca-csr.js';
import { type InitOptions, initCommand, initDefaults } from '../../src/cli/ca-init.js';
import { signCommand } from '../../src/cli/ca-sign.js';
import { type FakeVault, startFakeVault } from '../ca/kms-vault-server.js';
import { type CaLab, oneLine, openCaLab, passphrase } from './ca-lab.js';

const kmsResource = 'hashivault://ca';

let vault: FakeVault;
let lab: CaLab;
beforeEach(async () => {
  vault = await startFakeVault(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const secrets = { MAYFLY_ROOT_PASSPHRASE: passphrase, MAYFLY_PASSPHRASE: passphrase };
  lab = openCaLab({ env: { ...secrets, VAULT_ADDR: vault.address, VAULT_TOKEN: vault.token } });
});
afterEach(async () => {
  await vault.stop();
  lab.close();
});

const read = (path: string): string => readFileSync(path, 'utf8');
const init = (options: Partial<InitOptions>): Promise<void> =>
  initCommand({ ...initDefaults, dataDir: lab.at('data'), ...options }, lab.io);

/** What is wrong with a chain that should be for the key in the KMS. */
async function problems(chain: string) {
  const signer = await openKmsSigner(kmsResource, { environment: lab.io.env });
  const findings = checkProfile(read(chain), { now: Date.now(), publicKey: signer.publicKey });
  await signer.close();
  return findings;
}

test('an issuing key in a KMS gets its chain, and serve is told where both are', async () => {
  await init({ kmsResource });
  expect(readdirSync(lab.at('data/ca'))).toEqual(['chain.pem']);
  expect(await problems(lab.at('data/ca/chain.pem'))).toEqual([]);
  const flags = `--ca kmsca --kms-resource ${kmsResource} --kms-cert-chain-path ${lab.at('data/ca/chain.pem')}`;
  expect(oneLine(lab.out())).toContain(flags);
});

test('a root key in a KMS signs the ceremony, and nothing asks for its passphrase', async () => {
  lab.close();
  lab = openCaLab({ env: { VAULT_ADDR: vault.address, VAULT_TOKEN: vault.token } });
  await init({ rootKmsResource: kmsResource });
  expect(readdirSync(lab.at('data/offline'))).toEqual(['root.pem']);
  expect(await problems(lab.at('data/offline/root.pem'))).toEqual([]);
  expect(checkProfile(read(lab.at('data/keys/ca/chain.pem')), { now: Date.now() })).toEqual([]);
});

test('a request for a key in a KMS is signed elsewhere', async () => {
  await init({ rootOnly: true });
  await csrCommand({ ...csrDefaults, kmsResource, out: lab.at('csr.pem') }, lab.io);
  const parent = { ca: lab.at('data/offline/root.pem'), caKey: lab.at('data/offline/root.key.pem') };
  const order = { csr: lab.at('csr.pem'), ...parent, out: lab.at('chain.pem') };
  expect(await signCommand({ ...order, for: 'issuing', pathLength: '0', yes: true }, lab.io)).toBe(0);
  expect(await problems(lab.at('chain.pem'))).toEqual([]);
});

test('a parent in a KMS signs a request', async () => {
  await init({ rootOnly: true, rootKmsResource: kmsResource });
  await csrCommand({ ...csrDefaults, keyOut: lab.at('key.pem'), out: lab.at('csr.pem') }, lab.io);
  const parent = { ca: lab.at('data/offline/root.pem'), caKmsResource: kmsResource };
  const order = { csr: lab.at('csr.pem'), ...parent, out: lab.at('chain.pem') };
  expect(await signCommand({ ...order, for: 'issuing', pathLength: '0', yes: true }, lab.io)).toBe(0);
  expect(checkProfile(read(lab.at('chain.pem')), { now: Date.now() })).toEqual([]);
});

test('a KMS that is away leaves nothing behind', async () => {
  await vault.stop();
  await expect(init({ kmsResource })).rejects.toThrow(/^--kms-resource: /);
  await expect(init({ rootKmsResource: kmsResource })).rejects.toThrow(/^--root-kms-resource: /);
  expect(readdirSync(lab.at())).toEqual([]);
  await vault.start();
});
