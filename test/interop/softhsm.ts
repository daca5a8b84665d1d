import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun } from './command.js';

/** Debian's SoftHSM (apt-get install softhsm2). */
const modulePath = '/usr/lib/softhsm/libsofthsm2.so';
const pin = '2324';
const label = 'fulcio';

/** A token that SoftHSM keeps in files. */
export interface SoftHsm {
  /** Where its objects lie: moved away, the token is gone. */
  readonly tokenDir: string;
  /** Configuration in crypto11's JSON form. */
  readonly configPath: string;
  /** Tells the module where the token is. */
  readonly env: Readonly<Record<string, string>>;
  /** Puts a PEM private key and its public key into the token. */
  importKey(keyPath: string, keyLabel: string, id: string): Promise<void>;
  /** Makes a P-256 key in the token, and writes the PEM of its public half. */
  generateKey(keyLabel: string, id: string, publicKeyPath: string): Promise<void>;
  /** Puts a PEM certificate into the token; `id` is hexadecimal. */
  importCertificate(certPath: string, id: string): Promise<void>;
}

/** The PIN of every token, which must not appear anywhere. */
export const tokenPin = pin;

/** Makes an empty token under `dir`/NAME; changes to `config` go into the file for crypto11. */
export async function makeSoftHsm(dir: string, name = 'hsm', config: object = {}): Promise<SoftHsm> {
  const at = (file: string) => join(dir, name, file);
  const tokenDir = at('tokens');
  await mkdir(tokenDir, { recursive: true });
  await writeFile(at('softhsm2.conf'), `directories.tokendir = ${tokenDir}\nobjectstore.backend = file\n`);
  const env = { SOFTHSM2_CONF: at('softhsm2.conf') };
  await writeFile(at('crypto11.conf'), JSON.stringify({ Path: modulePath, TokenLabel: label, Pin: pin, ...config }));
  const inDir = { cwd: join(dir, name), env };
  const softhsm = (...args: string[]) => mustRun('softhsm2-util', [...args, '--pin', pin], inDir);
  const login = ['--module', modulePath, '--token-label', label, '--login', '--pin', pin];
  const tool = (...args: string[]) => mustRun('pkcs11-tool', [...login, ...args], inDir);
  const openssl = (...args: string[]) => mustRun('openssl', args, inDir);

  await softhsm('--init-token', '--free', '--label', label, '--so-pin', '1234');
  return {
    tokenDir,
    configPath: at('crypto11.conf'),
    env,
    async importKey(keyPath, keyLabel, id) {
      await openssl('pkcs8', '-topk8', '-nocrypt', '-in', keyPath, '-out', at('import.pem'));
      await softhsm('--import', at('import.pem'), '--token', label, '--label', keyLabel, '--id', id);
    },
    async generateKey(keyLabel, id, publicKeyPath) {
      await tool('--keypairgen', '--key-type', 'EC:prime256v1', '--label', keyLabel, '--id', id);
      await tool('--read-object', '--type', 'pubkey', '--id', id, '--output-file', at('public.der'));
      await openssl('pkey', '-pubin', '-inform', 'DER', '-in', at('public.der'), '-out', publicKeyPath);
    },
    async importCertificate(certPath, id) {
      await openssl('x509', '-in', certPath, '-outform', 'DER', '-out', at('import.der'));
      await tool('--write-object', at('import.der'), '--type', 'cert', '--id', id, '--label', `certificate ${id}`);
    },
  };
}
