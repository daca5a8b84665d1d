import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { declareServeFlags, flagsGiven, repeatedFlagsGiven } from '../../src/cli/flag-options.js';
import { collectFlags } from '../../src/config/flag-sources.js';
import { serveConfig } from '../../src/config/serve.js';
import { readRoots } from '../../src/server/log-roots.js';
import { logServeFlags } from '../../src/server/log-start.js';
import { readTrustConfig } from '../../src/trust/services.js';
import { emailIssuerConfig } from './ca-server.js';
import {
  chartDir,
  kubernetesVersions,
  type LocalPod,
  localPod,
  type Manifest,
  manifests,
  pick,
  render,
} from './chart.js';
import { type Material, refusedValues, secretsOf, valuesMatrix } from './chart-cases.js';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { startOidcIssuer } from './oidc-issuer.js';
import { makeCa, makeKeyPair } from './openssl-ca.js';
import { freePort, type RunningServer, startServer } from './server-process.js';
import { certificatesIn, requestV1 } from './v1-client.js';

const jane = 'jane@example.com';
/** Kinds of the Prometheus operator, for which kubernetes-validate has no schema. */
const operatorKinds = ['ServiceMonitor', 'PrometheusRule'];
const names = valuesMatrix({ key: '', chain: '', password: '', logKey: '', logPublicKey: '' }).map(([name]) => name);

let lab: Lab;
let material: Material;
let cases: ReadonlyMap<string, object>;

beforeAll(async () => {
  lab = await openLab();
  const ca = await makeCa(lab.dir, 'P-256', 'with intermediate');
  const log = await makeKeyPair(lab.dir, 'P-256', 'log');
  material = {
    key: await readFile(ca.keyPath, 'utf8'),
    chain: await readFile(ca.chainPath, 'utf8'),
    password: ca.password,
    logKey: await readFile(log.keyPath, 'utf8'),
    logPublicKey: await readFile(log.publicKeyPath, 'utf8'),
  };
  cases = new Map(valuesMatrix(material));
});

afterAll(() => lab.close());

async function freshDir(name: string): Promise<string> {
  const dir = join(lab.dir, name.replaceAll(/\W/g, '-'));
  await mkdir(dir, { recursive: true });
  return dir;
}

const renderedOnce = new Map<string, readonly Manifest[]>();

/** What the chart makes of a row of the matrix; nothing in it depends on the version of Kubernetes. */
async function rendered(name: string): Promise<readonly Manifest[]> {
  const known = renderedOnce.get(name);
  if (known !== undefined) return known;
  const objects = await renderedFrom(cases.get(name), await freshDir(name));
  renderedOnce.set(name, objects);
  return objects;
}

async function renderedFrom(values: unknown, dir: string): Promise<readonly Manifest[]> {
  const { code, stdout, stderr } = await render(dir, values);
  if (code !== 0) throw new Error(stderr);
  return manifests(stdout);
}

/** The workload of the CA, whichever kind it is. */
function serverOf(all: readonly Manifest[]): Manifest {
  return pick(all, all.some(({ kind }) => kind === 'Deployment') ? 'Deployment' : 'StatefulSet', 'm-mayfly');
}

describe('the chart', () => {
  test('passes helm lint --strict', async () => {
    const values = join(lab.dir, 'lint.json');
    await writeFile(values, JSON.stringify(cases.get('one pod with everything switched on')));
    await mustRun(toolPath('bin/helm'), ['lint', '--strict', chartDir, '--values', values], { cwd: lab.dir });
  });

  test.each(kubernetesVersions)('renders objects that Kubernetes %s takes, for each of the values', async (version) => {
    const files: string[] = [];
    for (const name of names) {
      const objects = (await rendered(name)).filter(({ kind }) => !operatorKinds.includes(kind));
      const file = join(await freshDir(name), `${version}.yaml`);
      await writeFile(file, objects.map((object) => stringify(object)).join('---\n'));
      files.push(file);
    }
    const args = ['--strict', '--quiet', '-k', version, ...files];
    const validated = await run(toolPath('packaging-venv/bin/kubernetes-validate'), args, { cwd: lab.dir });
    expect(validated).toMatchObject({ code: 0, stdout: '' });
  });

  test.each(names)('gives the server arguments that it understands: %s', async (name) => {
    const all = await rendered(name);
    const pod = await localPod(all, serverOf(all), await freshDir(`${name} pod`), secretsOf(material));
    const [verb, ...args] = pod.args;
    expect(verb).toBe('serve');
    const command = new Command().exitOverride();
    declareServeFlags(command);
    command.parse(args, { from: 'user' });
    const flags = { ...flagsGiven(command), ...repeatedFlagsGiven(command) };
    const config = serveConfig(collectFlags(flags, pod.env, undefined));
    expect(config.publicUrl).toBe(name === 'nothing' ? 'http://m-mayfly.signing.svc' : 'https://fulcio.example.com');
    expect(() => readTrustConfig(config.trustConfigPath)).not.toThrow();
  });

  test.each(names.filter((name) => name.startsWith('a separate log')))(
    'gives the log arguments that it understands: %s',
    async (name) => {
      const all = await rendered(name);
      const pod = await localPod(
        all,
        pick(all, 'StatefulSet', 'm-mayfly-log'),
        await freshDir(`${name} log`),
        secretsOf(material),
      );
      expect(pod.args.slice(0, 2)).toEqual(['log', 'serve']);
      const command = new Command().exitOverride().requiredOption('--roots <file>');
      declareServeFlags(command, logServeFlags);
      command.parse(pod.args.slice(2), { from: 'user' });
      const { roots, ...flags } = flagsGiven(command);
      expect(readRoots(String(roots))).toHaveLength(2);
      expect(() => serveConfig(collectFlags(flags, pod.env, undefined))).not.toThrow();
    },
  );

  test.each(refusedValues)('refuses values that would not work, saying: %s', async (words, values) => {
    const { code, stderr } = await render(await freshDir('refused'), values);
    expect(code).not.toBe(0);
    expect(stderr).toContain(words);
  });

  test('keeps to the restricted profile of pod security in every pod', async () => {
    for (const name of names) {
      for (const pod of (await rendered(name)).flatMap(podSpecs)) {
        expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
        for (const { securityContext } of [...pod.containers, ...pod.initContainers]) {
          expect(securityContext).toEqual({
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          });
        }
      }
    }
  });

  test('puts no key and no password into arguments, variables or ConfigMaps', async () => {
    for (const name of names) {
      const text = JSON.stringify((await rendered(name)).filter(({ kind }) => kind !== 'Secret'));
      expect(text).not.toContain('PRIVATE KEY');
      expect(text).not.toContain(material.password);
    }
  });

  test('selects with every Service, policy and budget pods that there are', async () => {
    for (const name of names) {
      const all = await rendered(name);
      const pods = all.flatMap(podLabels);
      for (const { kind, metadata, spec } of all) {
        const selector = selectorOf(kind, spec);
        if (selector === undefined) continue;
        const matched = pods.filter((labels) =>
          Object.entries(selector).every(([key, value]) => labels[key] === value),
        );
        expect([kind, metadata.name, matched.length]).toEqual([kind, metadata.name, 1]);
      }
    }
  });

  test('hands the alert rules and dashboards to the operator and to Grafana as they are', async () => {
    const all = await rendered('one pod with everything switched on');
    const rules = all.filter(({ kind }) => kind === 'PrometheusRule');
    expect(rules.map(({ spec }) => spec)).toEqual([
      parse(await readFile(join(chartDir, 'alerts/mayfly.rules.yaml'), 'utf8')),
    ]);
    const dashboard = await readFile(join(chartDir, 'dashboards/mayfly.json'), 'utf8');
    const data = z.record(z.string(), z.string()).parse(pick(all, 'ConfigMap', 'm-mayfly-dashboards').data);
    expect(JSON.parse(data['mayfly.json'] ?? '')).toEqual(JSON.parse(dashboard));
    const monitor = pick(all, 'ServiceMonitor', 'm-mayfly');
    expect(monitor.spec).toMatchObject({ endpoints: [{ port: 'metrics', path: '/metrics' }] });
    const wanted = z
      .object({ selector: z.object({ matchLabels: z.record(z.string(), z.string()) }) })
      .parse(monitor.spec);
    expect(pick(all, 'Service', 'm-mayfly-metrics').metadata.labels).toMatchObject(wanted.selector.matchLabels);
  });
});

describe('what the chart runs', () => {
  let issuerUrl: string;
  let token: () => Promise<string>;

  beforeAll(async () => {
    const claims = { sub: jane, email: jane, email_verified: true };
    const issuer = lab.keep(await startOidcIssuer({ algorithm: 'ES256', accounts: [claims] }));
    issuerUrl = issuer.url;
    token = () => issuer.idToken(jane);
  });

  const identity = (): object => ({ contents: parse(emailIssuerConfig(issuerUrl)) as unknown });

  test.each(['the least', 'one pod with the CA from a Secret'])('becomes ready and issues: %s', async (name) => {
    const dir = await freshDir(`${name} run`);
    const all = await renderedFrom({ ...cases.get(name), config: identity() }, dir);
    const { url } = await start(await localPod(all, serverOf(all), dir, secretsOf(material)), dir);
    expect((await requestV1(url, await token(), jane, 'as gitsign')).status).toBe(201);
  });

  test('is a CA that gets its SCTs from the separate log, and names the public address in the trust files', async () => {
    const dir = await freshDir('separate run');
    const values = { ...cases.get('a separate log'), config: identity() };
    const all = await renderedFrom(values, dir);
    const logPod = await localPod(all, pick(all, 'StatefulSet', 'm-mayfly-log'), join(dir, 'log'), secretsOf(material));
    const log = await start(logPod, dir);
    const caDir = join(dir, 'ca');
    const caPod = await localPod(all, serverOf(all), caDir, secretsOf(material));
    const list = join(caDir, 'etc/mayfly/settings/ct-logs.yaml');
    const inCluster = 'http://m-mayfly-log:80/ctlog';
    const text = await readFile(list, 'utf8');
    expect(text).toContain(inCluster);
    await writeFile(list, text.replace(inCluster, `${log.url}/ctlog`));
    const { url } = await start(caPod, dir);

    const { status, body } = await requestV1(url, await token(), jane, 'as gitsign');
    expect(status).toBe(201);
    expect(certificatesIn(body)).toHaveLength(3);
    const root = z
      .looseObject({ ctlogs: z.array(z.looseObject({ baseUrl: z.string() })) })
      .parse(await (await fetch(`${url}/trust/trusted_root.json`)).json());
    expect(root.ctlogs.map(({ baseUrl }) => baseUrl)).toEqual(['https://fulcio.example.com/ctlog']);
  });
});

/** Runs a pod's command line on ports of 127.0.0.1 until the lab closes; resolves when it is ready. */
async function start(pod: LocalPod, cwd: string): Promise<RunningServer & { readonly url: string }> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const args = pod.args.map((arg) => arg.replace(/^--port=.*/, `--port=${port}`).replace(/^(--\w+-port)=.*/, '$1=0'));
  const server = await startServer({
    name: `mayfly ${args[0]}`,
    command: process.execPath,
    args: [resolve(projectDir, 'dist/main.js'), ...args, '--host=127.0.0.1'],
    cwd,
    env: pod.env,
    readyUrl: `${url}/readyz`,
  });
  return { ...lab.keep(server), url };
}

const contextShape = z.looseObject({ securityContext: z.unknown() });
const podShape = contextShape.extend({
  containers: z.array(contextShape),
  initContainers: z.array(contextShape).default([]),
});
const templateShape = z.looseObject({
  metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
  spec: z.unknown(),
});
const withTemplate = z.looseObject({ template: templateShape });

function podSpecs({ kind, spec }: Manifest): readonly z.infer<typeof podShape>[] {
  if (kind === 'Pod') return [podShape.parse(spec)];
  return ['Deployment', 'StatefulSet'].includes(kind) ? [podShape.parse(withTemplate.parse(spec).template.spec)] : [];
}

function podLabels({ kind, spec }: Manifest): readonly Readonly<Record<string, string>>[] {
  return ['Deployment', 'StatefulSet'].includes(kind) ? [withTemplate.parse(spec).template.metadata.labels] : [];
}

const labels = z.record(z.string(), z.string());

function selectorOf(kind: string, spec: unknown): Readonly<Record<string, string>> | undefined {
  if (kind === 'Service') return z.looseObject({ selector: labels }).parse(spec).selector;
  if (kind === 'PodDisruptionBudget') {
    return z.looseObject({ selector: z.object({ matchLabels: labels }) }).parse(spec).selector.matchLabels;
  }
  if (kind !== 'NetworkPolicy') return undefined;
  return z.looseObject({ podSelector: z.object({ matchLabels: labels }) }).parse(spec).podSelector.matchLabels;
}
