import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun } from './command.js';

/** The key types that the tests use. */
export type KeyKind = 'P-256' | 'P-384' | 'RSA-3072' | 'Ed25519';

/** How long a chain is. */
export type CaDepth = 'root only' | 'with intermediate';

/** A certificate chain and the encrypted key of its first certificate, as `--ca fileca` takes them. */
export interface CaFiles {
  /** PEM, issuing certificate first, root last. */
  readonly chainPath: string;
  /** Encrypted PKCS#8 PEM. */
  readonly keyPath: string;
  readonly password: string;
}

const genpkeyArgs: Readonly<Record<KeyKind, readonly string[]>> = {
  'P-256': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  'P-384': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  'RSA-3072': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:3072'],
  Ed25519: ['-algorithm', 'ED25519'],
};

const opensslConfig = `
[req]
distinguished_name = none
prompt = no
[none]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[intermediate]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
extendedKeyUsage = codeSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
`;

/** A key pair in PEM files. */
export interface KeyPairFiles {
  readonly keyPath: string;
  readonly publicKeyPath: string;
}

const password = 'correct horse battery staple';

/** Makes an unencrypted key with openssl: NAME.key and NAME.pub.pem in `dir`. */
export async function makeKeyPair(dir: string, kind: KeyKind, name: string): Promise<KeyPairFiles> {
  const files = { keyPath: join(dir, `${name}.key`), publicKeyPath: join(dir, `${name}.pub.pem`) };
  await mustRun('openssl', ['genpkey', ...genpkeyArgs[kind], '-out', files.keyPath], { cwd: dir });
  await mustRun('openssl', ['pkey', '-in', files.keyPath, '-pubout', '-out', files.publicKeyPath], { cwd: dir });
  return files;
}

/** Makes a root, or a root and a code-signing intermediate, with openssl in `dir`, and encrypts the issuing key; `organization` may be empty, as many a company's CA has none. */
export async function makeCa(
  dir: string,
  kind: KeyKind,
  depth: CaDepth,
  organization = '/O=Interop',
): Promise<CaFiles> {
  const at = (name: string) => join(dir, name);
  const openssl = (...args: string[]) => mustRun('openssl', args, { cwd: dir });
  await writeFile(at('ca.cnf'), opensslConfig);

  await makeKeyPair(dir, kind, 'root');
  const rootArgs = [
    '-config',
    'ca.cnf',
    '-extensions',
    'root',
    '-key',
    'root.key',
    '-out',
    'root.pem',
    '-days',
    '3650',
  ];
  await openssl('req', '-x509', ...rootArgs, '-subj', `${organization}/CN=Interop ${kind} root`);
  let issuing = 'root';
  let chain = await readFile(at('root.pem'), 'utf8');

  if (depth === 'with intermediate') {
    issuing = 'intermediate';
    await makeKeyPair(dir, kind, 'intermediate');
    const subject = `${organization}/CN=Interop ${kind} intermediate`;
    await openssl('req', '-new', '-config', 'ca.cnf', '-key', 'intermediate.key', '-subj', subject, '-out', 'ca.csr');
    const signArgs = ['-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '1825'];
    const profile = ['-extfile', 'ca.cnf', '-extensions', 'intermediate', '-out', 'intermediate.pem'];
    await openssl('x509', '-req', '-in', 'ca.csr', ...signArgs, ...profile);
    chain = (await readFile(at('intermediate.pem'), 'utf8')) + chain;
  }

  await writeFile(at('chain.pem'), chain);
  const encrypt = ['-in', `${issuing}.key`, '-out', 'issuing.enc.key', '-v2', 'aes-256-cbc'];
  await openssl('pkcs8', '-topk8', ...encrypt, '-passout', `pass:${password}`);
  return { chainPath: at('chain.pem'), keyPath: at('issuing.enc.key'), password };
}
