import { encodePem } from '../x509/pem.js';
import { clientInstructions, policyControllerFile, tufRootFile } from './client-instructions.js';
import type { TrustedAuthority, TrustedLog, TrustMaterial } from './material.js';
import { type ArchivedFile, tarArchive } from './tar.js';
import { sha256Hex } from './tuf-targets.js';
import { trustFileNames, trustFiles } from './write.js';

/** The directory that the archive unpacks into. */
export const bundleDirectory = 'mayfly-trust';

export interface BundleInput {
  readonly material: TrustMaterial;
  /** The newest root.json of the TUF repository, if there is one. */
  readonly tufRoot?: Uint8Array | undefined;
}

/**
 * Everything that a client machine needs to trust an instance, as a tar archive with an instruction for each client. The
 * same input makes the same bytes. Throws AppError STARTUP as the trust files do.
 */
export function clientBundle({ material, tufRoot }: BundleInput): Uint8Array {
  const text = (name: string, content: string): ArchivedFile => ({ name, bytes: Buffer.from(content) });
  const files = trustFiles(material)
    .filter(([name]) => name !== trustFileNames.clientTrustConfigToo)
    .flatMap(([name, content]) => (content === undefined ? [] : [text(name, content)]));
  const all = [
    ...files,
    text(policyControllerFile, policyController(material)),
    ...(tufRoot === undefined ? [] : [{ name: tufRootFile, bytes: tufRoot }]),
    text('README.md', clientInstructions(material, tufRoot !== undefined)),
  ];
  const sums = all.map(({ name, bytes }) => `${sha256Hex(bytes)}  ${name}\n`).join('');
  const archived = [...all, text('SHA256SUMS', sums)];
  return tarArchive(archived.map(({ name, bytes }) => ({ name: `${bundleDirectory}/${name}`, bytes })));
}

/** A TrustRoot of policy-controller (policy.sigstore.dev/v1alpha1) as JSON, which YAML readers take. */
function policyController({ cas, ctLogs, rekors = [], tsas = [] }: TrustMaterial): string {
  const base64 = (pem: string): string => Buffer.from(pem).toString('base64');
  const authority = ({ chain, uri, operator }: TrustedAuthority) => ({
    subject: { organization: operator, commonName: operator },
    uri,
    certChain: base64(chain.map((der) => encodePem('CERTIFICATE', der)).join('')),
  });
  const log = ({ baseUrl, publicKey }: TrustedLog) => ({
    baseURL: baseUrl,
    hashAlgorithm: 'sha-256',
    publicKey: base64(encodePem('PUBLIC KEY', publicKey)),
  });
  const sigstoreKeys = {
    certificateAuthorities: cas.map(authority),
    ctLogs: ctLogs.map(log),
    ...(rekors.length === 0 ? {} : { tLogs: rekors.map(log) }),
    ...(tsas.length === 0 ? {} : { timestampAuthorities: tsas.map(authority) }),
  };
  const resource = {
    apiVersion: 'policy.sigstore.dev/v1alpha1',
    kind: 'TrustRoot',
    metadata: { name: 'mayfly' },
    spec: { sigstoreKeys },
  };
  return `${JSON.stringify(resource, null, 2)}\n`;
}
