import type { Claims } from './oidc-issuer.js';

/** A deployment in a workflow run, with the claims that GitHub Actions puts into its tokens. */
export const workflowRun: Claims & Readonly<Record<string, string>> = {
  sub: 'repo:octo-org/octo-repo:environment:public-release',
  repository: 'octo-org/octo-repo',
  repository_id: '74',
  repository_owner: 'octo-org',
  repository_owner_id: '65',
  repository_visibility: 'private',
  ref: 'refs/heads/main',
  sha: 'b14a7b8059d9c055954c92674ce60032b14a7b80',
  workflow: 'Release & publish',
  workflow_ref: 'octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main',
  workflow_sha: 'b14a7b8059d9c055954c92674ce60032b14a7b80',
  job_workflow_ref: 'octo-org/shared/.github/workflows/publish.yml@refs/tags/v2',
  job_workflow_sha: '5db0ee32c0f9a1a1b1f6fbb5b0cbd5bfa1fe8f5b',
  event_name: 'workflow_dispatch',
  runner_environment: 'github-hosted',
  run_id: '1234567890',
  run_attempt: '2',
  environment: 'public-release',
};

/** The identity in the certificate of `workflowRun`. */
export const workflowIdentity = 'https://github.com/octo-org/shared/.github/workflows/publish.yml@refs/tags/v2';

/** An identity configuration whose tokens from this issuer identify a workflow, with GitHub's template set. */
export function workflowIssuerConfig(issuerUrl: string): string {
  return `
oidc-issuers:
  "${issuerUrl}":
    issuer-url: "${issuerUrl}"
    client-id: sigstore
    type: ci-provider
    ci-provider: github-workflow
ci-issuer-metadata:
  github-workflow:
    default-template-values:
      url: https://github.com
    extension-templates:
      github-workflow-trigger: event_name
      github-workflow-sha: sha
      github-workflow-name: workflow
      github-workflow-repository: repository
      github-workflow-ref: ref
      build-signer-uri: "{{ .url }}/{{ .job_workflow_ref }}"
      build-signer-digest: job_workflow_sha
      runner-environment: runner_environment
      source-repository-uri: "{{ .url }}/{{ .repository }}"
      source-repository-digest: sha
      source-repository-ref: ref
      source-repository-identifier: repository_id
      source-repository-owner-uri: "{{ .url }}/{{ .repository_owner }}"
      source-repository-owner-identifier: repository_owner_id
      build-config-uri: "{{ .url }}/{{ .workflow_ref }}"
      build-config-digest: workflow_sha
      build-trigger: event_name
      run-invocation-uri: "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}"
      source-repository-visibility-at-signing: repository_visibility
      deployment-environment: environment
    subject-alternative-name-template: "{{ .url }}/{{ .job_workflow_ref }}"
`;
}
