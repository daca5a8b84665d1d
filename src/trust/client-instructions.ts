import type { TrustMaterial } from './material.js';
import { trustFileNames } from './write.js';

export const policyControllerFile = 'policy-controller.json';
export const tufRootFile = 'root.json';

/** What the commands are made with. */
interface Places {
  readonly ca: string;
  readonly issuer: string;
  /** Stands for who signed. */
  readonly who: string;
  readonly tsa: string | undefined;
  readonly rekor: string | undefined;
}

/**
 * README.md of the bundle: for each client, commands that work as they stand in the unpacked directory; `who` stands in
 * them for the identity in the certificate.
 */
export function clientInstructions(material: TrustMaterial, hasTuf: boolean, who = 'jane@example.com'): string {
  const ca = material.cas[0]?.uri ?? '';
  const places: Places = {
    ca,
    issuer: material.oidcProviders?.[0]?.url ?? 'ISSUER',
    who,
    tsa: material.tsas?.[0]?.uri,
    rekor: material.rekors?.[0]?.baseUrl,
  };
  return [
    introduction(places),
    cosign3(places),
    cosign2(places),
    sigstorePython(places),
    sigstoreJs(places),
    gitsign(places),
    policyController(),
    ...(hasTuf ? [tuf(places)] : []),
  ].join('\n');
}

const { trustedRoot, signingConfig, clientTrustConfig, caChain, ctLogKey, tsaChain } = trustFileNames;

function introduction({ ca, issuer, who }: Places): string {
  return `# Trust in ${ca}

Unpack the archive on the client and check what came out; the hash of the archive itself has to come to you by another
way:

    tar xf mayfly-trust.tar
    cd mayfly-trust
    sha256sum -c SHA256SUMS

The commands below are for that directory. FILE is what to sign; ${who} is who signed it, with a token of
${issuer}. Verifying needs no network at all; signing needs ${ca}.
`;
}

/** Flags for what a bundle of this instance has: timestamps or not, entries of a Rekor or not. */
function evidence({ tsa, rekor }: Places): string {
  return `${tsa === undefined ? '' : '--use-signed-timestamps '}${rekor === undefined ? '--insecure-ignore-tlog ' : ''}`;
}

/** The end of a command that verifies, on lines of its own: long ones are hard to read and to check. */
function verified(places: Places): string {
  const { issuer, who } = places;
  return `\\
      --certificate-identity ${who} --certificate-oidc-issuer ${issuer} \\
      ${evidence(places)}FILE`;
}

function cosign3(places: Places): string {
  return `## cosign 3

    cosign sign-blob --yes --signing-config ${signingConfig} --trusted-root ${trustedRoot} \\
      --bundle FILE.sigstore.json FILE
    cosign verify-blob --trusted-root ${trustedRoot} --bundle FILE.sigstore.json ${verified(places)}

Images: the same flags with cosign sign and cosign verify. A machine without a browser adds --identity-token.
`;
}

function cosign2(places: Places): string {
  const { ca, issuer, tsa, rekor } = places;
  const stamp = tsa === undefined ? '' : `--timestamp-server-url ${tsa} `;
  const log = rekor === undefined ? '--tlog-upload=false' : `--rekor-url ${rekor}`;
  const format = '--new-bundle-format --bundle FILE.sigstore.json';
  return `## cosign 2 (2.6)

    cosign sign-blob --yes --fulcio-url ${ca} --oidc-issuer ${issuer} \\
      ${stamp}${log} --trusted-root ${trustedRoot} \\
      ${format} FILE
    cosign verify-blob --trusted-root ${trustedRoot} ${format} ${verified(places)}
`;
}

function sigstorePython({ issuer, who, rekor }: Places): string {
  const lacking = `
It refuses to sign or to verify without a Rekor, and this instance has none beside it (mayfly serve --trust-config).
`;
  return `## sigstore-python (4)

    sigstore --trust-config ${clientTrustConfig} sign --bundle FILE.sigstore.json FILE
    sigstore --trust-config ${clientTrustConfig} verify identity --bundle FILE.sigstore.json \\
      --cert-identity ${who} --cert-oidc-issuer ${issuer} FILE
${rekor === undefined ? lacking : ''}`;
}

function sigstoreJs({ issuer, who, tsa, rekor }: Places): string {
  const thresholds = `{ ctlogThreshold: 1, tlogThreshold: ${rekor === undefined ? 0 : 1}, timestampThreshold: ${tsa === undefined ? 0 : 1} }`;
  return `## sigstore-js (@sigstore/verify 3)

    import { readFileSync } from 'node:fs';
    import { bundleFromJSON } from '@sigstore/bundle';
    import { TrustedRoot } from '@sigstore/protobuf-specs';
    import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';

    const json = (name) => JSON.parse(readFileSync(name, 'utf8'));
    const trust = toTrustMaterial(TrustedRoot.fromJSON(json('${trustedRoot}')));
    const entity = toSignedEntity(bundleFromJSON(json('FILE.sigstore.json')), readFileSync('FILE'));
    const verifier = new Verifier(trust, ${thresholds});
    verifier.verify(entity, {
      subjectAlternativeName: '^${who.replaceAll('.', '\\\\.')}$',
      extensions: { issuer: '${issuer}' },
    });
`;
}

function gitsign({ ca, issuer, tsa, rekor }: Places): string {
  const stamp =
    tsa === undefined
      ? ''
      : `    git config --global gitsign.timestampServerURL ${tsa}\n    git config --global gitsign.timestampCertChain "$PWD/${tsaChain}"\n`;
  return `## gitsign

    git config --global commit.gpgsign true
    git config --global gpg.format x509
    git config --global gpg.x509.program gitsign
    git config --global gitsign.fulcio ${ca}
    git config --global gitsign.fulcioRoot "$PWD/${caChain}"
    git config --global gitsign.issuer ${issuer}
${stamp}    export SIGSTORE_CT_LOG_PUBLIC_KEY_FILE="$PWD/${ctLogKey}"

gitsign wants a Rekor (gitsign.rekor${rekor === undefined ? '; this instance has none beside it' : ` ${rekor}`}).
`;
}

function policyController(): string {
  return `## policy-controller (Kubernetes)

    kubectl apply -f ${policyControllerFile}

It makes the TrustRoot "mayfly"; name it in a ClusterImagePolicy as spec.authorities[].keyless.trustRootRef.
`;
}

function tuf({ ca }: Places): string {
  return `## Clients that fetch and renew their trust by themselves

${tufRootFile} is the root of the repository at ${ca}/tuf. After one of these, cosign and sigstore-python need no flags or files for trust:

    cosign initialize --mirror ${ca}/tuf --root ${tufRootFile}
    sigstore --instance ${ca}/tuf trust-instance ${tufRootFile}
`;
}
