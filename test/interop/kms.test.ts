import { createPublicKey } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KeySpec } from '@aws-sdk/client-kms';
import { newKey, v2Body } from '../support/client.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun } from './command.js';
import { signBlob, verifyBlob } from './cosign.js';
import { type Lab, openLab } from './lab.js';
import { type Moto, startMoto } from './moto.js';
import { type OidcIssuer, startOidcIssuer } from './oidc-issuer.js';
import { type OpenBao, startOpenBao } from './openbao.js';
import { type KeyKind, makeCa } from './openssl-ca.js';
import { ownTrustFiles } from './trust-files.js';
import { startVaultTransit, type VaultTransit } from './vault-transit.js';

const jane = 'jane@example.com';
const account = 'account-4711';

let lab: Lab;
let issuer: OidcIssuer;
let moto: Moto;
let vault: VaultTransit;
let bao: OpenBao;

beforeAll(async () => {
  lab = await openLab();
  issuer = lab.keep(
    await startOidcIssuer({ algorithm: 'RS256', accounts: [{ sub: account, email: jane, email_verified: true }] }),
  );
  moto = lab.keep(await startMoto(lab.dir));
  vault = lab.keep(await startVaultTransit(lab.dir));
  bao = lab.keep(await startOpenBao(lab.dir));
});
afterAll(() => lab.close());

/** A key of the KMS, by the URI that names it, and its public key in PEM. */
interface KmsKey {
  readonly uri: string;
  readonly publicKey: string;
  readonly env: Readonly<Record<string, string>>;
}

async function awsKey(spec: KeySpec, alias = `alias/${spec}`): Promise<KmsKey> {
  const der = await moto.createKey(spec, alias);
  const publicKey = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  return {
    uri: `awskms:///${alias}`,
    publicKey: `${publicKey.export({ type: 'spki', format: 'pem' })}`,
    env: moto.env,
  };
}

async function vaultKey(type: string, name = type): Promise<KmsKey> {
  const { keys } = await vault.call(`keys/${name}`, { type, exportable: true, allow_plaintext_backup: true });
  const publicKey = (keys as Record<string, { public_key: string }>)['1']?.public_key ?? '';
  return { uri: `hashivault://${name}`, publicKey, env: vault.env };
}

async function baoKey(type: string, name = type): Promise<KmsKey> {
  return { uri: `openbao://${name}`, ...(await bao.createKey(type, name)) };
}

/** A chain whose issuing certificate is for the key in the KMS, under a root that openssl made. */
async function makeChain(dir: string, kind: KeyKind, publicKey: string): Promise<string> {
  await makeCa(dir, kind, 'with intermediate');
  await writeFile(join(dir, 'kms.pub.pem'), publicKey);
  const subject = ['-in', 'ca.csr', '-force_pubkey', 'kms.pub.pem', '-days', '1825', '-set_serial', '77'];
  const profile = ['-CA', 'root.pem', '-CAkey', 'root.key', '-extfile', 'ca.cnf', '-extensions', 'intermediate'];
  await mustRun('openssl', ['x509', '-req', ...subject, ...profile, '-out', 'kms.pem'], { cwd: dir });
  const chainPath = join(dir, 'kms-chain.pem');
  await writeFile(
    chainPath,
    `${await readFile(join(dir, 'kms.pem'), 'utf8')}${await readFile(join(dir, 'root.pem'), 'utf8')}`,
  );
  return chainPath;
}

function start(dir: string, key: KmsKey, chainPath: string): Promise<CaServer> {
  const flags = ['--ca', 'kmsca', '--kms-resource', key.uri, '--kms-cert-chain-path', chainPath];
  return startCa({ dir, config: emailIssuerConfig(issuer.url), log: true, flags, env: key.env });
}

test.each<[string, KeyKind, () => Promise<KmsKey>]>([
  ['P-256 in AWS KMS', 'P-256', () => awsKey('ECC_NIST_P256')],
  ['P-384 in AWS KMS', 'P-384', () => awsKey('ECC_NIST_P384')],
  ['RSA in AWS KMS', 'RSA-3072', () => awsKey('RSA_3072')],
  ['P-256 in Vault', 'P-256', () => vaultKey('ecdsa-p256')],
  ['P-384 in Vault', 'P-384', () => vaultKey('ecdsa-p384')],
  ['RSA in Vault', 'RSA-3072', () => vaultKey('rsa-3072')],
  ['P-256 in OpenBao', 'P-256', () => baoKey('ecdsa-p256')],
  ['P-384 in OpenBao', 'P-384', () => baoKey('ecdsa-p384')],
  ['RSA in OpenBao', 'RSA-3072', () => baoKey('rsa-3072')],
])('cosign verifies what a CA with %s issues', async (name, kind, makeKey) => {
  const dir = join(lab.dir, name.replaceAll(' ', '-'));
  await mkdir(dir);
  const key = await makeKey();
  const ca = await start(dir, key, await makeChain(dir, kind, key.publicKey));
  try {
    await signAndVerify(dir, ca);
  } finally {
    await ca.close();
  }
});

async function signAndVerify(dir: string, ca: CaServer): Promise<void> {
  const file = join(dir, 'blob');
  await writeFile(file, 'a file to sign\n');
  const trust = ownTrustFiles(ca.trustDir);
  const bundle = await signBlob(dir, trust, await issuer.idToken(account), file);
  const expected = { identity: jane, issuerUrl: issuer.url, timestamped: false, logged: true };
  const verified = await verifyBlob(dir, trust.trustedRoot, bundle, file, expected);
  expect(verified).toMatchObject({ code: 0, stderr: expect.stringContaining('Verified OK') });
}

test.each([
  ['Vault', vaultKey, () => vault.call('keys/rotating/rotate', {})],
  ['OpenBao', baoKey, () => bao.rotateKey('rotating')],
])(
  'a rotation of the key in %s changes nothing, neither at once nor after a restart',
  async (name, makeKey, rotate) => {
    const dir = join(lab.dir, `rotation-${name}`);
    await mkdir(dir);
    const key = await makeKey('ecdsa-p256', 'rotating');
    const chainPath = await makeChain(dir, 'P-256', key.publicKey);
    let ca = await start(dir, key, chainPath);
    try {
      await rotate();
      await signAndVerify(dir, ca);
      await ca.close();
      // In a directory of its own: the first one's log belongs to the first one's port.
      const second = join(dir, 'second');
      await mkdir(second);
      ca = await start(second, key, chainPath);
      expect(ca.printed()).toContain('version 1');
      await signAndVerify(second, ca);
    } finally {
      await ca.close();
    }
  },
);

interface Outage {
  readonly key: KmsKey;
  begin(): Promise<void> | void;
  end(): Promise<void> | void;
}

async function killedVault(): Promise<Outage> {
  const key = await vaultKey('ecdsa-p256', 'outage');
  const { backup } = await vault.call('backup/outage');
  return {
    key,
    begin: () => vault.kill(),
    async end() {
      if (vault.isRunning()) return;
      await vault.restart();
      await vault.call('restore/outage', { backup });
    },
  };
}

async function killedBao(): Promise<Outage> {
  return {
    key: await baoKey('ecdsa-p256', 'killed'),
    begin: () => bao.kill(),
    async end() {
      await bao.restart();
      await bao.unseal();
    },
  };
}

async function sealedBao(): Promise<Outage> {
  return { key: await baoKey('ecdsa-p256', 'sealed'), begin: () => bao.seal(), end: () => bao.unseal() };
}

async function hangingAws(): Promise<Outage> {
  const key = await awsKey('ECC_NIST_P256', 'alias/outage');
  return {
    key,
    begin: () => void process.kill(moto.pid, 'SIGSTOP'),
    end: () => void process.kill(moto.pid, 'SIGCONT'),
  };
}

test.each([
  ['Vault killed', killedVault],
  ['OpenBao killed', killedBao],
  ['OpenBao sealed', sealedBao],
  ['AWS KMS hanging', hangingAws],
])(
  'with %s under load requests are answered 503, and the CA issues again by itself when it is back',
  async (name, prepare) => {
    const dir = join(lab.dir, name.replaceAll(' ', '-'));
    await mkdir(dir);
    const outage = await prepare();
    const ca = await start(dir, outage.key, await makeChain(dir, 'P-256', outage.key.publicKey));
    const load = startLoad(ca.url, v2Body(await issuer.idToken(account), jane, newKey()));
    const readyIs = async (status: number) => (await fetch(`${ca.url}/readyz`)).status === status;
    try {
      await until(() => load.seen.filter((status) => status === 200).length >= 50);
      await outage.begin();
      await until(() => readyIs(503));
      load.seen.length = 0;
      await until(() => load.seen.length >= 50);
      expect(new Set(load.seen)).toEqual(new Set([503]));

      await outage.end();
      await until(() => readyIs(200));
      load.seen.length = 0;
      await until(() => load.seen.filter((status) => status === 200).length >= 50);
      await signAndVerify(dir, ca);
    } finally {
      await outage.end();
      await load.stop();
      await ca.close();
    }
    expect(new Set(load.all)).toEqual(new Set([200, 503]));
  },
);

/** Eight clients that ask for certificates and note the status of each answer until they are stopped. */
function startLoad(url: string, body: string) {
  const seen: number[] = [];
  const all: number[] = [];
  let stopped = false;
  const client = async () => {
    while (!stopped) {
      const response = await fetch(`${url}/api/v2/signingCert`, { method: 'POST', body });
      await response.text();
      seen.push(response.status);
      all.push(response.status);
    }
  };
  const running = Promise.all(Array.from({ length: 8 }, client));
  return {
    seen,
    all,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(20);
}
