import type { CiTemplates, IssuerTypeName } from '../config/identity-types.js';
import { type ExtensionName, extensionNames } from '../x509/extensions.js';
import { compileTemplate } from './template.js';

export type LegacyTypeName = Extract<
  IssuerTypeName,
  'github-workflow' | 'gitlab-pipeline' | 'buildkite-job' | 'codefresh-workflow'
>;

/** A CI provider that is known by its issuer type, from before Fulcio had `ci-issuer-metadata`. */
export interface LegacyProvider extends CiTemplates {
  /** Claims that must be there and not be empty. */
  readonly required: readonly string[];
}

interface Table {
  readonly required: readonly string[];
  readonly defaults?: Readonly<Record<string, string>>;
  readonly fixed?: Readonly<Record<string, string>>;
  readonly san: string;
  readonly extensions: Readonly<Partial<Record<ExtensionName, string>>>;
}

const github: Table = {
  required: [
    'job_workflow_ref',
    'sha',
    'event_name',
    'repository',
    'workflow',
    'ref',
    'job_workflow_sha',
    'runner_environment',
    'repository_id',
    'repository_owner',
    'repository_owner_id',
    'workflow_ref',
    'workflow_sha',
    'run_id',
    'run_attempt',
  ],
  defaults: { repository_visibility: '' },
  fixed: { url: 'https://github.com' },
  san: '{{ .url }}/{{ .job_workflow_ref }}',
  extensions: {
    githubWorkflowTrigger: 'event_name',
    githubWorkflowSha: 'sha',
    githubWorkflowName: 'workflow',
    githubWorkflowRepository: 'repository',
    githubWorkflowRef: 'ref',
    buildSignerUri: '{{ .url }}/{{ .job_workflow_ref }}',
    buildSignerDigest: 'job_workflow_sha',
    runnerEnvironment: 'runner_environment',
    sourceRepositoryUri: '{{ .url }}/{{ .repository }}',
    sourceRepositoryDigest: 'sha',
    sourceRepositoryRef: 'ref',
    sourceRepositoryIdentifier: 'repository_id',
    sourceRepositoryOwnerUri: '{{ .url }}/{{ .repository_owner }}',
    sourceRepositoryOwnerIdentifier: 'repository_owner_id',
    buildConfigUri: '{{ .url }}/{{ .workflow_ref }}',
    buildConfigDigest: 'workflow_sha',
    buildTrigger: 'event_name',
    runInvocationUri: '{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}',
    sourceRepositoryVisibility: 'repository_visibility',
  },
};

const gitlab: Table = {
  required: [
    'ci_config_ref_uri',
    'job_id',
    'namespace_id',
    'namespace_path',
    'pipeline_source',
    'project_id',
    'project_path',
    'project_visibility',
    'ref',
    'ref_type',
    'runner_environment',
    'sha',
  ],
  // Null, or absent, when the pipeline's definition lies in another project.
  defaults: { ci_config_sha: '' },
  fixed: { url: 'https://gitlab.com' },
  san: 'https://{{ .ci_config_ref_uri }}',
  extensions: {
    buildSignerUri: 'https://{{ .ci_config_ref_uri }}',
    buildSignerDigest: 'ci_config_sha',
    runnerEnvironment: 'runner_environment',
    sourceRepositoryUri: '{{ .url }}/{{ .project_path }}',
    sourceRepositoryDigest: 'sha',
    sourceRepositoryRef: 'refs/{{if eq .ref_type "branch"}}heads{{else}}tags{{end}}/{{ .ref }}',
    sourceRepositoryIdentifier: 'project_id',
    sourceRepositoryOwnerUri: '{{ .url }}/{{ .namespace_path }}',
    sourceRepositoryOwnerIdentifier: 'namespace_id',
    buildConfigUri: 'https://{{ .ci_config_ref_uri }}',
    buildConfigDigest: 'ci_config_sha',
    buildTrigger: 'pipeline_source',
    runInvocationUri: '{{ .url }}/{{ .project_path }}/-/jobs/{{ .job_id }}',
    sourceRepositoryVisibility: 'project_visibility',
  },
};

const buildkite: Table = {
  required: ['organization_slug', 'pipeline_slug'],
  fixed: { url: 'https://buildkite.com' },
  san: '{{ .url }}/{{ .organization_slug }}/{{ .pipeline_slug }}',
  extensions: {},
};

const codefresh: Table = {
  required: ['account_id', 'account_name', 'pipeline_id', 'pipeline_name', 'workflow_id'],
  defaults: { platform_url: 'https://g.codefresh.io', scm_repo_url: '', scm_ref: '', runner_environment: '' },
  san: '{{ .platform_url }}/{{ .account_name }}/{{ .pipeline_name }}:{{ .account_id }}/{{ .pipeline_id }}',
  extensions: {
    buildSignerUri: '{{ .platform_url }}/build/{{ .workflow_id }}',
    runnerEnvironment: 'runner_environment',
    sourceRepositoryUri: 'scm_repo_url',
    sourceRepositoryRef: 'scm_ref',
    buildConfigUri: '{{ .platform_url }}/api/pipelines/{{ .pipeline_id }}',
    runInvocationUri: '{{ .platform_url }}/build/{{ .workflow_id }}',
  },
};

/** The older issuer types, as the same tables a configuration would hold. */
export const legacyProviders: Readonly<Record<LegacyTypeName, LegacyProvider>> = {
  'github-workflow': compiled('github-workflow', github),
  'gitlab-pipeline': compiled('gitlab-pipeline', gitlab),
  'buildkite-job': compiled('buildkite-job', buildkite),
  'codefresh-workflow': compiled('codefresh-workflow', codefresh),
};

function compiled(name: LegacyTypeName, table: Table): LegacyProvider {
  return {
    name,
    required: table.required,
    defaults: new Map(Object.entries(table.defaults ?? {})),
    fixed: new Map(Object.entries(table.fixed ?? {})),
    extensions: extensionNames.flatMap((extension) => {
      const template = table.extensions[extension];
      return template === undefined ? [] : [{ name: extension, template: compileTemplate(template) }];
    }),
    san: compileTemplate(table.san),
  };
}
