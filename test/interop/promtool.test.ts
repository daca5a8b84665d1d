import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { parse, stringify } from 'yaml';
import { AppError, type ErrorCode, errorTable } from '../../src/errors.js';
import { emailConfig, start } from '../server/lab.js';
import { dashboard } from '../server/metrics-expressions.js';
import { projectDir, run } from './command.js';
import { type AlertCase, cases, type Series } from './promtool/cases.js';

const rulesFile = join(projectDir, 'charts/mayfly/alerts/mayfly.rules.yaml');
const dir = mkdtempSync(join(tmpdir(), 'mayfly-promtool-'));
afterAll(() => rmSync(dir, { recursive: true }));

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
const text = readFileSync(rulesFile, 'utf8');
const { groups } = parse(text) as { groups: readonly { rules: readonly Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const alerts = rules.filter(({ alert }) => alert !== undefined);

/** Debian's package puts promtool into the PATH. */
const promtool = (...args: string[]) => run('promtool', args, { cwd: dir });

async function unitTest(
  name: string,
  tests: readonly object[],
  interval = '1m',
): Promise<{ code: number; output: string }> {
  const file = join(dir, `${name}.yaml`);
  writeFileSync(file, stringify({ rule_files: [rulesFile], evaluation_interval: interval, tests }));
  const { code, stdout, stderr } = await promtool('test', 'rules', file);
  return { code, output: `${stdout}\n${stderr}` };
}

const firing = ({ alert, at, interval = '1m' }: AlertCase, series: Series, count: number | undefined) => ({
  interval,
  input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
  promql_expr_test: [
    {
      expr: `count(ALERTS{alertname="${alert}",alertstate="firing"})`,
      eval_time: at,
      exp_samples: count === undefined ? [] : [{ labels: '{}', value: count }],
    },
  ],
});

test('promtool finds nothing wrong with the rules', async () => {
  const { code, stdout, stderr } = await promtool('check', 'rules', '--lint=all', '--lint-fatal', rulesFile);
  expect(`${stdout}${stderr}`).toContain('SUCCESS');
  expect(code).toBe(0);
});

test('promtool can read every expression of the dashboard', async () => {
  const file = join(dir, 'dashboard.yaml');
  const variable = { job: '.*', instance: '.*' };
  const shown = dashboard.panels
    .flatMap(({ targets = [] }) => targets)
    .map(({ expr }, index) => ({
      record: `panel:${index}`,
      expr: expr.replace(/\$(job|instance)/g, (_whole, name: keyof typeof variable) => variable[name]),
    }));
  expect(shown.length).toBeGreaterThan(40);
  writeFileSync(file, stringify({ groups: [{ name: 'dashboard', rules: shown }] }));
  const { code, stdout, stderr } = await promtool('check', 'rules', file);
  expect(`${stdout}${stderr}`).toContain(`${shown.length} rules found`);
  expect(code).toBe(0);
});

test('promtool finds nothing wrong with the names of the metrics, but for the one that Fulcio chose', async () => {
  const flags = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir), tsa: 'true' };
  const server = await start({
    ...flags,
    'audit-log': join(dir, 'audit.jsonl'),
    'otlp-endpoint': 'http://127.0.0.1:9',
  });
  const text = await (await fetch(server.metricsUrl)).text();
  await server.close();
  // What prom-client makes by itself is the same for every program on Node.
  const own = text.split('\n').filter((line) => !/^(# \w+ )?(nodejs|process)_/.test(line));
  const { stdout, stderr } = await run('promtool', ['check', 'metrics'], { cwd: dir, input: `${own.join('\n')}\n` });
  expect(`${stdout}${stderr}`.trim()).toBe('fulcio_new_certs counter metrics should have "_total" suffix');
});

test('every alert has a case', () => {
  const tested = new Set(cases.map(({ alert }) => alert));
  expect(alerts.map(({ alert }) => alert).filter((alert) => !tested.has(String(alert)))).toEqual([]);
});

test.each(cases.map((row, index) => [row.alert, index, row] as const))(
  '%s fires when it should, and else does not (case %i)',
  async (_alert, index, row) => {
    const { code, output } = await unitTest(
      `case-${index}`,
      [firing(row, row.fires, 1), firing(row, row.quiet, undefined)],
      row.interval,
    );
    expect(output).toContain('SUCCESS');
    expect(code).toBe(0);
  },
);

test('a case that is wrong is found, so that a green run means something', async () => {
  const [row] = cases;
  if (row === undefined) throw new Error('there are no cases');
  expect((await unitTest('wrong', [firing(row, row.quiet, 1)])).code).not.toBe(0);
});

test('an alert says in words what it found', async () => {
  const labels = { ca: 'a1', state: 'active', subject: 'CN=issuing', job: 'mayfly', instance: 'ca-0' };
  const series =
    'mayfly_ca_seconds_until_expiry{ca="a1",state="active",subject="CN=issuing",job="mayfly",instance="ca-0"}';
  const { output } = await unitTest('words', [
    {
      interval: '1m',
      input_series: [
        { series, values: '43200x10' },
        { series: 'fulcio_build_info{product="mayfly"}', values: '1x10' },
      ],
      alert_rule_test: [
        {
          eval_time: '5m',
          alertname: 'MayflyCaExpiresIn1Day',
          exp_alerts: [
            {
              exp_labels: { ...labels, severity: 'critical' },
              exp_annotations: {
                summary: 'A CA certificate ends within a day, or has ended',
                description: 'The certificate CN=issuing of the active CA a1 ends in 12h 0m 0s.',
                runbook: 'docs/monitoring.md#mayflycaexpiresin1day',
              },
            },
          ],
        },
      ],
    },
  ]);
  expect(output).toContain('SUCCESS');
});

test('every alert has a severity, a summary, a description, and a paragraph in docs/monitoring.md', () => {
  const page = readFileSync(join(projectDir, 'docs/monitoring.md'), 'utf8');
  for (const { alert, labels, annotations } of alerts) {
    expect(['info', 'warning', 'critical']).toContain(labels?.severity);
    expect(annotations).toEqual({
      summary: expect.any(String),
      description: expect.any(String),
      runbook: `docs/monitoring.md#${alert?.toLowerCase()}`,
    });
    expect(page).toContain(`### ${alert}\n`);
  }
});

test('the error ratio counts the reasons that are a fault of this side, and no other', () => {
  const [, list = ''] = /reason=~"([A-Z_|]+)"/.exec(text) ?? [];
  const reasons = Object.keys(errorTable) as ErrorCode[];
  const ofThisSide = reasons.filter((reason) => new AppError(reason, '').httpStatus >= 500 || reason === 'OVERLOADED');
  const notCounted = [
    'ISSUER_UNAVAILABLE',
    'METHOD_NOT_ALLOWED',
    'STARTING',
    'TSA_SIGNER_UNAVAILABLE',
    'TSA_TIME_UNAVAILABLE',
  ];
  expect(list.split('|').sort()).toEqual(ofThisSide.filter((reason) => !notCounted.includes(reason)).sort());
});
