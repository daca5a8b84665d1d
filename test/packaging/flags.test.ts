import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import { environmentName, flagNames, flagRow } from '../../src/config/flags.js';

const project = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(project, path), 'utf8');
const spellings = flagNames.flatMap((name) => [name, ...(flagRow(name).aliases ?? [])]);

describe('what the packages say to the server', () => {
  test('is made of flags that exist, in every template of the chart', () => {
    const templates = readdirSync(join(project, 'charts/mayfly/templates')).filter((name) =>
      /\.(tpl|yaml)$/.test(name),
    );
    const used = templates.flatMap((name) =>
      [...read(`charts/mayfly/templates/${name}`).matchAll(/--([a-z][\w.-]*)=/g)].map((match) => match[1]),
    );
    expect(used.length).toBeGreaterThan(20);
    expect(used.filter((flag) => flag !== 'roots' && !spellings.some((name) => name === flag))).toEqual([]);
  });

  test('leaves to server.settings every flag but those that the chart sets itself', () => {
    const reserved = z.object({ propertyNames: z.object({ not: z.object({ enum: z.array(z.string()) }) }) });
    const { server } = z
      .looseObject({
        properties: z.looseObject({ server: z.looseObject({ properties: z.looseObject({ settings: reserved }) }) }),
      })
      .parse(JSON.parse(read('charts/mayfly/values.schema.json'))).properties;
    const taken = server.properties.settings.propertyNames.not.enum;
    expect(taken.filter((flag) => !spellings.some((name) => name === flag))).toEqual([]);
  });

  test('is made of variables that exist, in the environment file of the service', () => {
    const known = new Set(spellings.map((name) => environmentName(name)));
    const used = [...read('packaging/mayfly.env').matchAll(/^#?(FULCIO_SERVE_\w+)=/gm)].map((match) => match[1]);
    expect(used.length).toBeGreaterThan(5);
    expect(used.filter((name) => name === undefined || !known.has(name))).toEqual([]);
  });

  test('carries one version: package, chart and image', () => {
    const { version } = z.looseObject({ version: z.string() }).parse(JSON.parse(read('package.json')));
    expect(parse(read('charts/mayfly/Chart.yaml'))).toMatchObject({ version, appVersion: version });
    expect(read('Dockerfile')).toContain(`ARG VERSION=${version}\n`);
  });
});

describe('the image', () => {
  const lines = read('Dockerfile').split('\n');

  test('runs as a numeric user that is not root, from its last stage on', () => {
    const last = lines.findLastIndex((line) => line.startsWith('FROM '));
    expect(lines.slice(last).filter((line) => line.startsWith('USER '))).toEqual(['USER 65532:65532']);
  });

  test('takes nothing from the working directory but what it needs', () => {
    const [first, ...rest] = read('.dockerignore').trim().split('\n');
    expect(first).toBe('*');
    const copied = lines
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
      .flatMap((line) => line.split(' ').slice(1, -1))
      .map((path) => path.split('/')[0]);
    expect([...new Set(copied)].sort()).toEqual(rest.map((line) => line.replace('!', '')).sort());
  });
});
