import type { KeyObject } from 'node:crypto';
import { AppError, messageOf } from '../errors.js';
import { type Certificate, parseCertificate } from '../x509/certificate.js';
import { DerError } from '../x509/der.js';
import { encodePem } from '../x509/pem.js';
import type { CertificateAuthority } from './authority.js';
import { afterMs } from './call-queue.js';
import { loadChain } from './chain.js';
import { readPkcs11Config } from './pkcs11-config.js';
import { pkcs11Key, signersOf } from './pkcs11-key.js';
import type { OpenAnswer } from './pkcs11-messages.js';
import type { RecoveryChange } from './recovery.js';
import { openRemoteSigner, remoteSignerDefaults } from './remote-signer.js';
import type { Signer } from './signer.js';

/** Which key of which token. */
export interface Pkcs11KeyChoice {
  /** File in crypto11's JSON form: --pkcs11-config-path. */
  readonly configPath: string;
  /** CKA_LABEL of the private key: --hsm-key-label. */
  readonly keyLabel: string;
}

export interface Pkcs11Deps {
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly onChange: (change: RecoveryChange) => void;
}

/** A start of the process, loading the vendor's module and a login are one call, and network HSMs take their time. */
const timeoutMs = 10_000;

/**
 * Opens a key in a PKCS#11 token as a Signer that survives restarts of the HSM (see openRemoteSigner). Throws AppError
 * STARTUP naming the flag, the file and the field that is wrong, never the PIN.
 */
export async function openPkcs11Signer(choice: Pkcs11KeyChoice, deps: Pkcs11Deps): Promise<Signer> {
  const { signer } = await open(choice, deps);
  return signer;
}

/**
 * Opens a CA whose key is in a PKCS#11 token and whose certificate is there too, with the CKA_ID of these bytes
 * (--hsm-caroot-id, as text). Fulcio takes one certificate, a root; here, the certificates above it are taken from the
 * token as well. Throws AppError STARTUP.
 */
export async function openPkcs11Ca(
  choice: Pkcs11KeyChoice & { readonly certificateId: string },
  deps: Pkcs11Deps,
): Promise<CertificateAuthority> {
  const { signer, certificates } = await open(choice, deps);
  const where = `--hsm-caroot-id ${choice.certificateId}`;
  try {
    const chain = chainFromToken(certificates, Buffer.from(choice.certificateId), signer.publicKey);
    return loadChain(chain.map((der) => encodePem('CERTIFICATE', der)).join(''), signer, deps.clock());
  } catch (cause) {
    await signer.close();
    const why = cause instanceof AppError ? cause.detail : messageOf(cause);
    throw new AppError('STARTUP', `${where}: ${why}`, { cause });
  }
}

async function open(
  choice: Pkcs11KeyChoice,
  deps: Pkcs11Deps,
): Promise<{ readonly signer: Signer; readonly certificates: OpenAnswer['certificates'] }> {
  const readConfig = () => readPkcs11Config(choice.configPath);
  const config = readConfig();
  const key = pkcs11Key(readConfig, choice.keyLabel);
  const signer = await openRemoteSigner(key, {
    ...remoteSignerDefaults,
    ...deps,
    setting: `--pkcs11-config-path ${choice.configPath}`,
    after: afterMs,
    timeoutMs,
    maxConcurrent: signersOf(config),
    maxWaitMs: config.poolWaitMs,
  });
  return { signer, certificates: key.certificates() };
}

/**
 * The certificate with this CKA_ID, then the issuer of each as far as the token has them. Among several with the id the
 * one for `publicKey` is meant.
 */
export function chainFromToken(
  certificates: OpenAnswer['certificates'],
  id: Uint8Array,
  publicKey: KeyObject,
): readonly Uint8Array[] {
  const hasId = (entry: { readonly id: Uint8Array }): boolean => Buffer.compare(entry.id, id) === 0;
  if (!certificates.some(hasId)) throw new AppError('STARTUP', notFound(certificates, id));
  const all = certificates.flatMap(parsed);
  const withId = all.filter(hasId);
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const first = withId.find(({ certificate }) => spki.equals(certificate.spki)) ?? withId[0];
  if (first === undefined) throw new AppError('STARTUP', 'the certificate in the token cannot be read');
  const chain = [first.certificate];
  for (let last = first.certificate; !isSelfIssued(last); ) {
    const issuer = all.find(
      ({ certificate }) => !chain.includes(certificate) && Buffer.compare(certificate.subject, last.issuer) === 0,
    );
    // What is missing, loadChain says.
    if (issuer === undefined) break;
    last = issuer.certificate;
    chain.push(last);
  }
  return chain.map(({ der }) => der);
}

function isSelfIssued({ issuer, subject }: Certificate): boolean {
  return Buffer.compare(issuer, subject) === 0;
}

type Entry = OpenAnswer['certificates'][number];

/** Tokens hold other people's certificates too: one that cannot be read is passed over. */
function parsed({ id, der }: Entry): { readonly id: Uint8Array; readonly certificate: Certificate }[] {
  try {
    return [{ id, certificate: parseCertificate(der) }];
  } catch (error) {
    if (error instanceof DerError) return [];
    throw error;
  }
}

function notFound(certificates: OpenAnswer['certificates'], id: Uint8Array): string {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex') || 'empty';
  const found = certificates.map((entry) => hex(entry.id));
  const others = found.length === 0 ? 'no certificate at all' : `certificates with the CKA_ID ${found.join(', ')}`;
  // Fulcio takes the flag's characters, not the number they spell.
  return `the token has no certificate with the CKA_ID ${hex(id)} (the characters of the flag, in hexadecimal); it has ${others}`;
}
