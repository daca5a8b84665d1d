import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Certificate, certificateUse } from '../../src/x509/certificate.js';
import { children, contentOf, readDer } from '../../src/x509/der.js';
import { extensionNames, identityExtensions, sigstoreArc } from '../../src/x509/extensions.js';
import { decodePem } from '../../src/x509/pem.js';
import type { San } from '../../src/x509/san.js';
import type { LeafFields } from '../../src/x509/tbs.js';

/** Certificates and errors made by a real Fulcio; they lie beside the checkout where it is developed. */
const folder = fileURLToPath(new URL('../../../shared/golden/', import.meta.url));

export const goldenPresent = existsSync(folder);

export function readGolden(name: string) {
  return JSON.parse(readFileSync(`${folder}${name}`, 'utf8'));
}

export const goldenNames: readonly string[] = goldenPresent
  ? readdirSync(`${folder}certificates`).map((file) => file.replace('.json', ''))
  : ['none'];

export function goldenCertificate(name: string): Uint8Array {
  return decodePem(readGolden(`certificates/${name}.json`).certificatePem, ['CERTIFICATE']).der;
}

const sanKinds = new Map<number, San['kind']>([
  [0x81, 'email'],
  [0x86, 'uri'],
  [0xa0, 'username'],
]);

function sanOf(certificate: Certificate): San {
  const value = certificate.extensions.find(({ oid }) => oid === '2.5.29.17')?.value ?? new Uint8Array();
  const [name] = children(readDer(value));
  const kind = name === undefined ? undefined : sanKinds.get(name.tag);
  if (name === undefined || kind === undefined) throw new Error('a SAN of another kind');
  const [, wrapped] = kind === 'username' ? children(name) : [];
  const [inner] = wrapped === undefined ? [] : children(wrapped);
  return { kind, value: Buffer.from(contentOf(inner ?? name)).toString('utf8') };
}

/** The fields that should encode to this very certificate, read back out of it. */
export function fieldsOf(certificate: Certificate): LeafFields {
  const extensions = extensionNames.flatMap((name) => {
    const { arc, encoding } = identityExtensions[name];
    const found = certificate.extensions.find(({ oid }) => oid === `${sigstoreArc}.${arc}`);
    if (found === undefined) return [];
    const text = encoding === 'raw' ? found.value : contentOf(readDer(found.value));
    return [[name, Buffer.from(text).toString('utf8')]];
  });
  const [first = 0] = certificate.serial;
  return {
    serial: first >= 0x80 ? Buffer.concat([Uint8Array.of(0), certificate.serial]) : certificate.serial,
    signatureAlgorithm: certificate.signatureAlgorithm,
    issuerName: certificate.issuer,
    authorityKeyId: certificateUse(certificate).authorityKeyId ?? new Uint8Array(),
    notBefore: certificate.notBefore,
    notAfter: certificate.notAfter,
    spki: certificate.spki,
    san: sanOf(certificate),
    extensions: Object.fromEntries(extensions),
  };
}

/** TLS bytes of the embedded SCT list. */
export function sctListOf(certificate: Certificate): Uint8Array {
  const found = certificate.extensions.find(({ oid }) => oid === '1.3.6.1.4.1.11129.2.4.2');
  return found === undefined ? new Uint8Array() : contentOf(readDer(found.value));
}

/** A leaf like GitHub's, for tests that need none of Fulcio's. */
export const sampleLeaf: LeafFields = {
  serial: Uint8Array.from([0x4d, ...Array(19).fill(0x11)]),
  signatureAlgorithm: Buffer.from('300a06082a8648ce3d040302', 'hex'),
  issuerName: Buffer.from('300e310c300a06035504030c03726f74', 'hex'),
  authorityKeyId: Buffer.alloc(20, 7),
  notBefore: new Date('2026-05-01T10:00:00.900Z'),
  notAfter: new Date('2026-05-01T10:10:00.900Z'),
  spki: Buffer.from(`302a300506032b6570032100${'5a'.repeat(32)}`, 'hex'),
  san: { kind: 'uri', value: 'https://github.com/octo/repo/.github/workflows/w.yml@refs/heads/main' },
  extensions: {
    issuer: 'https://token.actions.example',
    issuerV2: 'https://token.actions.example',
    buildTrigger: 'push',
    deploymentEnvironment: '',
    tokenSubject: 'repo:octo/repo:ref:refs/heads/main',
  },
};
