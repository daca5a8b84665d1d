import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { TlsFiles } from '../config/serve.js';
import { AppError, messageOf } from '../errors.js';

/** What a TLS listener needs, as PEM. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/**
 * Reads and checks the certificate chain and the key of `--http-tls-*` or `--grpc-tls-*`. Throws AppError STARTUP
 * naming the flag and the file: unreadable, not PEM, encrypted, or a key that is not the first certificate's.
 */
export function loadTls(files: TlsFiles, protocol: 'http' | 'grpc'): TlsMaterial {
  const certificateFlag = `--${protocol}-tls-certificate ${files.certificatePath}`;
  const keyFlag = `--${protocol}-tls-key ${files.keyPath}`;
  const cert = read(files.certificatePath, certificateFlag);
  const key = read(files.keyPath, keyFlag);
  const leaf = parse(certificateFlag, 'a PEM certificate chain, the server certificate first', () => {
    if (!cert.includes('-----BEGIN CERTIFICATE-----')) throw new Error('no CERTIFICATE block found');
    return new X509Certificate(cert);
  });
  const privateKey: KeyObject = parse(keyFlag, 'a PEM private key without a password', () => createPrivateKey(key));
  if (!leaf.checkPrivateKey(privateKey)) {
    throw new AppError(
      'STARTUP',
      `${keyFlag} is not the key of the first certificate in ${files.certificatePath} (subject ${oneLine(leaf.subject)})`,
    );
  }
  parse(certificateFlag, 'a chain that TLS can use', () => createSecureContext({ cert, key }));
  return { cert, key };
}

function read(path: string, flag: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new AppError('STARTUP', `${flag} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function parse<T>(flag: string, expected: string, parser: () => T): T {
  try {
    return parser();
  } catch (error) {
    throw new AppError('STARTUP', `${flag} is not usable; expected ${expected}: ${messageOf(error)}`, { cause: error });
  }
}

function oneLine(subject: string | undefined): string {
  return subject ? `"${subject.replaceAll('\n', ', ')}"` : 'empty';
}
