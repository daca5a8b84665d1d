/**
 * The identity extensions of a code-signing certificate, as a table in certificate order
 * (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md). Adding an extension is adding a row.
 */

/** 1.3.6.1.4.1.57264.1, the arc Sigstore assigns its certificate extensions under. */
export const sigstoreArc = '1.3.6.1.4.1.57264.1';

interface ExtensionRow {
  /** Last arc below 1.3.6.1.4.1.57264.1. */
  readonly arc: number;
  /** `raw`: the value's UTF-8 bytes as they are (deprecated 1–6); `utf8`: a DER UTF8String. */
  readonly encoding: 'raw' | 'utf8';
  /** Name in a YAML configuration (kebab-case). */
  readonly yaml: string;
  /** Name in a JSON configuration (PascalCase, Go's field name). */
  readonly json: string;
}

const r = (arc: number, encoding: ExtensionRow['encoding'], yaml: string, json: string): ExtensionRow => ({
  arc,
  encoding,
  yaml,
  json,
});

/** In ascending arc, which is the order in which they stand in the certificate. */
export const identityExtensions = {
  issuer: r(1, 'raw', 'issuer-v1', 'IssuerV1'),
  githubWorkflowTrigger: r(2, 'raw', 'github-workflow-trigger', 'GithubWorkflowTrigger'),
  githubWorkflowSha: r(3, 'raw', 'github-workflow-sha', 'GithubWorkflowSHA'),
  githubWorkflowName: r(4, 'raw', 'github-workflow-name', 'GithubWorkflowName'),
  githubWorkflowRepository: r(5, 'raw', 'github-workflow-repository', 'GithubWorkflowRepository'),
  githubWorkflowRef: r(6, 'raw', 'github-workflow-ref', 'GithubWorkflowRef'),
  issuerV2: r(8, 'utf8', 'issuer', 'Issuer'),
  buildSignerUri: r(9, 'utf8', 'build-signer-uri', 'BuildSignerURI'),
  buildSignerDigest: r(10, 'utf8', 'build-signer-digest', 'BuildSignerDigest'),
  runnerEnvironment: r(11, 'utf8', 'runner-environment', 'RunnerEnvironment'),
  sourceRepositoryUri: r(12, 'utf8', 'source-repository-uri', 'SourceRepositoryURI'),
  sourceRepositoryDigest: r(13, 'utf8', 'source-repository-digest', 'SourceRepositoryDigest'),
  sourceRepositoryRef: r(14, 'utf8', 'source-repository-ref', 'SourceRepositoryRef'),
  sourceRepositoryIdentifier: r(15, 'utf8', 'source-repository-identifier', 'SourceRepositoryIdentifier'),
  sourceRepositoryOwnerUri: r(16, 'utf8', 'source-repository-owner-uri', 'SourceRepositoryOwnerURI'),
  sourceRepositoryOwnerIdentifier: r(
    17,
    'utf8',
    'source-repository-owner-identifier',
    'SourceRepositoryOwnerIdentifier',
  ),
  buildConfigUri: r(18, 'utf8', 'build-config-uri', 'BuildConfigURI'),
  buildConfigDigest: r(19, 'utf8', 'build-config-digest', 'BuildConfigDigest'),
  buildTrigger: r(20, 'utf8', 'build-trigger', 'BuildTrigger'),
  runInvocationUri: r(21, 'utf8', 'run-invocation-uri', 'RunInvocationURI'),
  sourceRepositoryVisibility: r(
    22,
    'utf8',
    'source-repository-visibility-at-signing',
    'SourceRepositoryVisibilityAtSigning',
  ),
  deploymentEnvironment: r(23, 'utf8', 'deployment-environment', 'DeploymentEnvironment'),
  tokenSubject: r(24, 'utf8', 'subject', 'Subject'),
} as const satisfies Record<string, ExtensionRow>;

export type ExtensionName = keyof typeof identityExtensions;

/** Extension values by name; an absent or empty one does not appear in the certificate. */
export type ExtensionValues = Readonly<Partial<Record<ExtensionName, string>>>;

/** The names in certificate order. */
export const extensionNames = Object.keys(identityExtensions) as readonly ExtensionName[];
