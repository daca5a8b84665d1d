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
import { type KeyKind, makeCa, makeKeyPair } from './openssl-ca.js';
import { makeSoftHsm } from './softhsm.js';
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

/** A key that signs for a CA, wherever it is. */
interface CaKey {
  /** How `serve` is told of it. */
  flags(chainPath: string): readonly string[];
  /** PEM. */
  readonly publicKey: string;
  readonly env: Readonly<Record<string, string>>;
}

const kmsFlags =
  (uri: string): CaKey['flags'] =>
  (chainPath) => ['--ca', 'kmsca', '--kms-resource', uri, '--kms-cert-chain-path', chainPath];

async function fileKey(kind: KeyKind, dir: string): Promise<CaKey> {
  const { keyPath, publicKeyPath } = await makeKeyPair(dir, kind, 'issuing');
  return {
    flags: (chainPath) => ['--ca', 'fileca', '--fileca-cert', chainPath, '--fileca-key', keyPath],
    publicKey: await readFile(publicKeyPath, 'utf8'),
    env: {},
  };
}

async function hsmKey(kind: KeyKind, dir: string): Promise<CaKey> {
  const { keyPath, publicKeyPath } = await makeKeyPair(dir, kind, 'issuing');
  const hsm = await makeSoftHsm(dir);
  await hsm.importKey(keyPath, 'issuing', '01');
  const named = ['--pkcs11-config-path', hsm.configPath, '--hsm-key-label', 'issuing'];
  return {
    flags: (chainPath) => ['--ca', 'pkcs11ca', ...named, '--hsm-cert-chain-path', chainPath],
    publicKey: await readFile(publicKeyPath, 'utf8'),
    env: hsm.env,
  };
}

async function awsKey(spec: KeySpec, alias = `alias/${spec}`): Promise<CaKey> {
  const der = await moto.createKey(spec, alias);
  const publicKey = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  return {
    flags: kmsFlags(`awskms:///${alias}`),
    publicKey: `${publicKey.export({ type: 'spki', format: 'pem' })}`,
    env: moto.env,
  };
}

async function vaultKey(type: string, name = type): Promise<CaKey> {
  const { keys } = await vault.call(`keys/${name}`, { type, exportable: true, allow_plaintext_backup: true });
  const publicKey = (keys as Record<string, { public_key: string }>)['1']?.public_key ?? '';
  return { flags: kmsFlags(`hashivault://${name}`), publicKey, env: vault.env };
}

async function baoKey(type: string, name = type): Promise<CaKey> {
  return { flags: kmsFlags(`openbao://${name}`), ...(await bao.createKey(type, name)) };
}

/** A chain whose issuing certificate is for this key, under a root that openssl made. */
async function makeChain(dir: string, kind: KeyKind, publicKey: string): Promise<string> {
  await makeCa(dir, kind, 'with intermediate');
  await writeFile(join(dir, 'issuing.pub.pem'), publicKey);
  const subject = ['-in', 'ca.csr', '-force_pubkey', 'issuing.pub.pem', '-days', '1825', '-set_serial', '77'];
  const profile = ['-CA', 'root.pem', '-CAkey', 'root.key', '-extfile', 'ca.cnf', '-extensions', 'intermediate'];
  await mustRun('openssl', ['x509', '-req', ...subject, ...profile, '-out', 'issuing.pem'], { cwd: dir });
  const chainPath = join(dir, 'issuing-chain.pem');
  await writeFile(
    chainPath,
    `${await readFile(join(dir, 'issuing.pem'), 'utf8')}${await readFile(join(dir, 'root.pem'), 'utf8')}`,
  );
  return chainPath;
}

function start(dir: string, key: CaKey, chainPath: string): Promise<CaServer> {
  const flags = key.flags(chainPath);
  return startCa({ dir, config: emailIssuerConfig(issuer.url), log: true, flags, env: key.env });
}

const kinds = ['P-256', 'P-384', 'RSA-3072'] as const;
type Kind = (typeof kinds)[number];
const awsSpecs = { 'P-256': 'ECC_NIST_P256', 'P-384': 'ECC_NIST_P384', 'RSA-3072': 'RSA_3072' } as const;
const transitTypes = { 'P-256': 'ecdsa-p256', 'P-384': 'ecdsa-p384', 'RSA-3072': 'rsa-3072' } as const;

/** Where a key can be, and how one is made there. */
const places: Readonly<Record<string, (kind: Kind, dir: string) => Promise<CaKey>>> = {
  'a file': fileKey,
  SoftHSM: hsmKey,
  'AWS KMS': (kind) => awsKey(awsSpecs[kind]),
  "Vault's transit engine": (kind) => vaultKey(transitTypes[kind]),
  OpenBao: (kind) => baoKey(transitTypes[kind]),
};

describe.each(Object.entries(places))('with a key in %s', (place, makeKey) => {
  test.each(kinds)('cosign verifies what a CA of the kind %s issues', async (kind) => {
    const dir = join(lab.dir, `${place} ${kind}`.replaceAll(/\W+/g, '-'));
    await mkdir(dir);
    const key = await makeKey(kind, dir);
    const ca = await start(dir, key, await makeChain(dir, kind, key.publicKey));
    try {
      await signAndVerify(dir, ca);
    } finally {
      await ca.close();
    }
  });
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
  readonly key: CaKey;
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
