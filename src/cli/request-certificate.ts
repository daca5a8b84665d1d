import { X509Certificate } from 'node:crypto';
import { decodeLeafIndex } from '../ct/leaf-index.js';
import { messageOf } from '../errors.js';
import { decodePem, encodePem } from '../x509/pem.js';
import type { San } from '../x509/san.js';
import { apiUrl, type CertificateRequest, printable, requestCertificate } from './request-api.js';
import { encodeCsr } from './request-csr.js';
import { CommandError, type CommandIo } from './request-io.js';
import { type ClientKey, generateClientKey, type KeyAlgorithm, keyAlgorithms } from './request-key.js';
import { challengeOf } from './request-token.js';
import type { ClientTrust } from './request-trust.js';
import { type CertificateCheck, loggedPrecert, verifyIssued } from './verify-certificate.js';
import { embeddedScts, identityOf, tokenIssuerOf } from './verify-certificate-fields.js';
import { checkInclusion } from './verify-certificate-log.js';

export interface CertificateOptions {
  readonly url: string;
  readonly token: string;
  readonly keyAlgorithm: KeyAlgorithm;
  /** Prove possession by a CSR instead of a signature over the challenge. */
  readonly csr: boolean;
  /** The claim to sign, when it is neither `email` nor `sub` by the usual rule. */
  readonly challenge?: string;
  readonly trust: ClientTrust;
  readonly allowMissingSct?: boolean;
  /** Where the log is read; left out: /ctlog below `url`. */
  readonly ctLogUrl?: string;
}

/** What a person wants to know of a certificate. */
export interface CertificateSummary {
  readonly identity: San;
  readonly tokenIssuer: string | undefined;
  /** Distinguished name of the issuing CA. */
  readonly issuer: string;
  /** Hexadecimal. */
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly logIndex: number | undefined;
}

export interface ObtainedCertificate {
  readonly key: ClientKey;
  readonly certificatePem: string;
  /** Issuing CA first, root last. */
  readonly chainPem: string;
  readonly summary: CertificateSummary;
  readonly checks: readonly CertificateCheck[];
}

/**
 * Makes a key, asks the certificate authority for a certificate over its v2 API and checks what came.
 * @throws CommandError when there is no certificate to check; a check that fails does not throw.
 */
export async function obtainCertificate(
  options: CertificateOptions,
  io: Pick<CommandIo, 'fetch' | 'now'>,
): Promise<ObtainedCertificate> {
  const key = await generateClientKey(options.keyAlgorithm);
  const answer = await requestCertificate(options.url, options.token, await requestFor(key, options), io.fetch);
  const [leaf, ...chain] = answer.certificates.map(toDer);
  if (leaf === undefined) throw new CommandError(1, 'the certificate authority answered without a certificate');
  const { roots, logs } = options.trust;
  const { allowMissingSct = false } = options;
  const issued = { leaf, chain, expectedKey: key.spki, roots, logs, allowMissingSct, now: io.now() };
  const checks = [...(await verifyIssued(issued))];
  if (checks.some(({ name, status }) => name === 'sct' && status === 'passed')) {
    const logged = loggedPrecert(issued);
    const url = options.ctLogUrl ?? apiUrl(options.url, 'ctlog').href;
    if (logged !== undefined) checks.push(await checkInclusion(logged, { url, fetch: io.fetch, sleep }));
  }
  return {
    key,
    certificatePem: encodePem('CERTIFICATE', leaf),
    chainPem: chain.map((der) => encodePem('CERTIFICATE', der)).join(''),
    summary: summaryOf(leaf),
    checks,
  };
}

async function requestFor(key: ClientKey, options: CertificateOptions): Promise<CertificateRequest> {
  if (options.csr) return { certificateSigningRequest: Buffer.from(await encodeCsr(key)).toString('base64') };
  const { value } = challengeOf(options.token, options.challenge);
  const proof = await key.sign(Buffer.from(value));
  return {
    publicKeyRequest: {
      publicKey: { algorithm: keyAlgorithms[key.algorithm].apiName, content: key.publicPem },
      proofOfPossession: Buffer.from(proof).toString('base64'),
    },
  };
}

function toDer(pem: string, index: number): Uint8Array {
  try {
    const { der } = decodePem(pem, ['CERTIFICATE']);
    // Whatever is read of it later, it is a certificate.
    return new X509Certificate(der).raw;
  } catch (cause) {
    throw new CommandError(
      1,
      `certificate ${index + 1} of the server's answer cannot be read: ${messageOf(cause)}`,
      cause,
    );
  }
}

/** What a DER certificate says; nothing of it is verified here. Throws CommandError 1 when it cannot be read. */
export function summaryOf(leaf: Uint8Array): CertificateSummary {
  try {
    const certificate = new X509Certificate(leaf);
    const identity = identityOf(leaf);
    if (identity === undefined) throw new Error('it names no email, URI or user name');
    const [sct] = embeddedScts(leaf);
    const tokenIssuer = tokenIssuerOf(leaf);
    return {
      identity: { ...identity, value: printable(identity.value) },
      tokenIssuer: tokenIssuer === undefined ? undefined : printable(tokenIssuer),
      issuer: printable(certificate.issuer.split('\n').join(', ')),
      serial: certificate.serialNumber.toLowerCase(),
      notBefore: new Date(certificate.validFrom),
      notAfter: new Date(certificate.validTo),
      logIndex: sct === undefined ? undefined : decodeLeafIndex(sct.extensions),
    };
  } catch (cause) {
    throw new CommandError(1, `the certificate that came cannot be read: ${messageOf(cause)}`, cause);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
