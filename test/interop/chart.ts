import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { type Finished, projectDir, run, toolPath } from './command.js';

/** The chart's directory. */
export const chartDir = join(projectDir, 'charts/mayfly');
/** Versions of Kubernetes from the oldest that README.md names to the newest that the schemas know. */
export const kubernetesVersions = ['1.25', '1.29', '1.33', '1.37'] as const;

const texts = z.record(z.string(), z.string());
const items = z.array(z.object({ key: z.string(), path: z.string() })).optional();
const volume = z.object({
  name: z.string(),
  configMap: z.object({ name: z.string(), items }).optional(),
  secret: z.object({ secretName: z.string(), items }).optional(),
});
const variable = z.object({
  name: z.string(),
  value: z.string().optional(),
  valueFrom: z.object({ secretKeyRef: z.object({ name: z.string(), key: z.string() }) }).optional(),
});
const container = z.object({
  args: z.array(z.string()),
  env: z.array(variable).default([]),
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })),
});
const podTemplate = z.object({ spec: z.object({ containers: z.array(container).min(1), volumes: z.array(volume) }) });

const manifestShape = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), labels: texts.optional(), annotations: texts.optional() }),
});

/** One object that the chart renders. */
export type Manifest = z.infer<typeof manifestShape>;

/** Files that Secrets hold which a chart's user makes beforehand, by Secret and key. */
export type Secrets = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** A container's command line with its files on this machine. */
export interface LocalPod {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Renders the chart as release "m" with these values; a failed rendering is no error here. */
export async function render(dir: string, values: unknown): Promise<Finished> {
  const file = join(dir, 'values.json');
  await writeFile(file, JSON.stringify(values));
  const args = ['template', 'm', chartDir, '--namespace', 'signing', '--values', file];
  return run(toolPath('bin/helm'), args, { cwd: dir });
}

/** The objects in what helm printed. */
export function manifests(yaml: string): readonly Manifest[] {
  return parseAllDocuments(yaml)
    .map((document) => {
      if ('errors' in document && document.errors.length > 0) throw document.errors[0];
      return document.toJSON() as unknown;
    })
    .filter((object) => object !== null)
    .map((object) => manifestShape.parse(object));
}

/** The object of this kind and name; throws with what there is. */
export function pick(all: readonly Manifest[], kind: string, name: string): Manifest {
  const found = all.find((object) => object.kind === kind && object.metadata.name === name);
  if (found !== undefined) return found;
  throw new Error(`no ${kind} ${name}; there are ${all.map((o) => `${o.kind} ${o.metadata.name}`).join(', ')}`);
}

/**
 * Puts the files that a workload's first container sees into `dir` and rewrites its paths to them, in arguments and in
 * the files themselves. Throws when a volume names something that neither the chart nor `secrets` has.
 */
export async function localPod(
  all: readonly Manifest[],
  workload: Manifest,
  dir: string,
  secrets: Secrets = {},
): Promise<LocalPod> {
  const template = podTemplate.parse(z.looseObject({ template: z.unknown() }).parse(workload.spec).template);
  const [first] = template.spec.containers;
  if (first === undefined) throw new Error('a pod without a container');
  // The longest path first: /data/keys/ctlog lies in /data.
  const mounts = [...first.volumeMounts].sort((a, b) => b.mountPath.length - a.mountPath.length);
  const local = (text: string): string =>
    mounts.reduce((result, { mountPath }) => result.replaceAll(inPath(mountPath), `${join(dir, mountPath)}$1`), text);
  for (const { name, mountPath } of mounts) {
    await mkdir(join(dir, mountPath), { recursive: true, mode: 0o700 });
    const found = template.spec.volumes.find((candidate) => candidate.name === name);
    const files = found === undefined ? {} : filesOf(found, all, secrets);
    for (const [file, content] of Object.entries(files)) {
      await writeFile(join(dir, mountPath, file), local(content), { mode: 0o600 });
    }
  }
  const env = first.env.flatMap(({ name, value, valueFrom }) => {
    const reference = valueFrom?.secretKeyRef;
    const text = reference === undefined ? value : secretOf(all, secrets, reference.name)[reference.key];
    return text === undefined ? [] : [[name, text] as const];
  });
  return { args: first.args.map(local), env: Object.fromEntries(env) };
}

/** A mount path where it stands as a path of its own or begins one, and not already under another directory. */
function inPath(mountPath: string): RegExp {
  return new RegExp(`(?<![\\w.-])${mountPath}(/|$)`, 'gm');
}

function filesOf(
  { configMap, secret }: z.infer<typeof volume>,
  all: readonly Manifest[],
  secrets: Secrets,
): Readonly<Record<string, string>> {
  if (configMap?.name === 'kube-root-ca.crt') return { 'ca.crt': '' };
  if (configMap !== undefined)
    return selected(texts.parse(pick(all, 'ConfigMap', configMap.name).data), configMap.items);
  return secret === undefined ? {} : selected(secretOf(all, secrets, secret.secretName), secret.items);
}

function secretOf(all: readonly Manifest[], secrets: Secrets, name: string): Readonly<Record<string, string>> {
  return secrets[name] ?? texts.parse(pick(all, 'Secret', name).stringData);
}

function selected(files: Readonly<Record<string, string>>, wanted: z.infer<typeof items>): Record<string, string> {
  if (wanted === undefined) return files;
  return Object.fromEntries(
    wanted.map(({ key, path }) => {
      const content = files[key];
      if (content === undefined) throw new Error(`there is no key ${key}; there are ${Object.keys(files).join(', ')}`);
      return [path, content];
    }),
  );
}
