import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { SignJWT } from 'jose';
import type { RunningServer } from '../../src/server/start.js';
import { post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { emailConfig, eventually, start, temporary } from './lab.js';
import { dashboard, expressions, metricsIn, rules } from './metrics-expressions.js';

const jane = { email: 'jane@example.com', email_verified: true };
/** Of the scrape itself, added by Prometheus. */
const targetLabels = ['job', 'instance'];

interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

/** Prometheus' text format, as far as prom-client writes it. */
function families(text: string): Map<string, Family> {
  const found = new Map<string, Family>();
  for (const block of text.split(/^# HELP /m).slice(1)) {
    const [, name = '', help = '', type = '', rest = ''] =
      /^(\S+) (.*)\n# TYPE \S+ (\S+)\n?([\s\S]*)$/.exec(block) ?? [];
    const samples = [...rest.matchAll(/^\w+(?:\{(.*)\})? (\S+)$/gm)].map(([, labels = '', value]) => ({
      labels: Object.fromEntries(
        [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]),
      ),
      value: Number(value),
    }));
    found.set(name, { type, help, samples });
  }
  return found;
}

async function scrape(server: RunningServer): Promise<Map<string, Family>> {
  return families(await (await fetch(server.metricsUrl)).text());
}

/** The sum over all samples that have these labels. */
function total(from: Map<string, Family>, name: string, labels: Record<string, string> = {}): number {
  const samples = from.get(name)?.samples ?? [];
  const wanted = samples.filter((sample) =>
    Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  );
  return wanted.reduce((sum, { value }) => sum + value, 0);
}

interface Row {
  readonly metric: string;
  readonly labels: readonly string[];
  readonly type: string;
  readonly meaning: string;
}

const page = readFileSync(join(import.meta.dirname, '../../docs/monitoring.md'), 'utf8');
const table: readonly Row[] = [...page.matchAll(/^\| `([a-z_]+)(?:\{(.*)\})?` \| (\w+) \| (.*) \|$/gm)].map(
  ([, metric = '', labels, type = '', meaning = '']) => ({ metric, labels: labels?.split(',') ?? [], type, meaning }),
);

let issuer: TestIssuer;
let server: RunningServer;
let scraped: Map<string, Family>;

async function ask(token: string): Promise<number> {
  return (await post(`${server.url}/api/v2/signingCert`, v2Body(token, jane.email))).status;
}

/** A token that says it is from `iss`, signed by nobody we know. */
function forged(iss: string): Promise<string> {
  return new SignJWT({ iss, aud: 'sigstore', sub: 'x', exp: Math.floor(Date.now() / 1000) + 60 })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new Uint8Array(32));
}

beforeAll(async () => {
  issuer = await startIssuer();
  const dir = temporary();
  const everything = { tsa: 'true', 'audit-log': join(dir, 'audit.jsonl'), 'otlp-endpoint': 'http://127.0.0.1:9' };
  const config = { 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, issuer.url, 'http://127.0.0.1:9') };
  server = await start({ ...everything, ...config });
  expect(await ask(await issuer.token(jane))).toBe(200);
  expect(await ask(await issuer.token({ ...jane, aud: 'another' }))).toBe(400);
  for (const name of ['a', 'b', 'c']) expect(await ask(await forged(`https://${name}.example`))).toBe(400);
  expect(await ask('not a token')).toBe(400);
  expect((await post(`${server.url}/api/v2/signingCert`, '{')).status).toBe(400);
  // The counters of a request are raised once its answer is out.
  await eventually(async () => total(await scrape(server), 'http_requests_total') === 7);
  scraped = await scrape(server);
});

afterAll(async () => {
  await server.close();
  await issuer.close();
});

describe('docs/monitoring.md', () => {
  test('lists the metrics that a server has, with type and meaning, and no other', () => {
    const own = [...scraped].filter(([name]) => !/^(process|nodejs)_/.test(name));
    const live = own.map(([metric, { type, help }]) => `${metric} ${type} ${help}`).sort();
    expect(table.map(({ metric, type, meaning }) => `${metric} ${type} ${meaning}`).sort()).toEqual(live);
  });

  test('names the labels that the samples have', () => {
    for (const { metric, labels } of table) {
      const seen = new Set(scraped.get(metric)?.samples.flatMap((sample) => Object.keys(sample.labels)));
      seen.delete('le');
      if (seen.size > 0) expect([metric, [...seen].sort()]).toEqual([metric, [...labels].sort()]);
    }
  });

  test.each([
    'server',
    'identity-configuration',
    'certificate-authority',
    'signer',
    'ct-log',
    'log',
    'issuer',
    'storage',
    'audit-trail',
    'timestamp-authority',
  ])('and /readyz know the dependency %s and agree whether it is required', async (name) => {
    const { checks } = (await (await fetch(`${server.url}/readyz`)).json()) as {
      checks: { name: string; required: boolean }[];
    };
    const check = checks.find((found) => found.name === name);
    const [, required] = new RegExp(`^\\| \`${name}\` \\| .* \\| (yes|no)`, 'm').exec(page) ?? [];
    expect(check?.required).toBe(required === 'yes');
  });
});

describe('dashboard and rules', () => {
  const recorded = new Set(rules.map(({ record }) => record));

  test.each(expressions().map(({ where, expr }) => [where, expr] as const))(
    '%s names only metrics and labels that there are',
    (_where, expr) => {
      const named = metricsIn(expr).filter(({ metric }) => !recorded.has(metric));
      for (const { metric, labels } of named) {
        const family = scraped.has(metric) ? metric : metric.replace(/_(bucket|sum|count)$/, '');
        expect([...scraped.keys()]).toContain(family);
        if (family !== metric) expect(scraped.get(family)?.type).toBe('histogram');
        const row = table.find((other) => other.metric === family);
        const known = [...targetLabels, 'le', ...(row?.labels ?? [])];
        expect(labels.filter((label) => !known.includes(label))).toEqual([]);
      }
    },
  );

  test('the reader of expressions finds metrics and labels, and no functions or keywords', () => {
    expect(
      metricsIn('sum by (a) (rate(x_total{b="c",d=~"$e"}[5m])) / on (f) y:z == 0 and absent(w offset 1w)'),
    ).toEqual([
      { metric: 'x_total', labels: ['b', 'd'] },
      { metric: 'y:z', labels: [] },
      { metric: 'w', labels: [] },
    ]);
  });

  test('the panels have an id of their own, lie in the grid and do not cover each other', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { gridPos } of panels) expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
  });
});

describe('what is counted', () => {
  test('certificates by issuer', () => {
    expect(total(scraped, 'mayfly_certificates_issued_total', { issuer: issuer.url })).toBe(1);
    expect(total(scraped, 'fulcio_new_certs')).toBe(1);
  });

  test('rejections by issuer and reason, and issuers that are not configured as one', () => {
    const rejected = (by: string, reason: string) => total(scraped, 'mayfly_rejections_total', { issuer: by, reason });
    expect(rejected(issuer.url, 'TOKEN_AUDIENCE_MISMATCH')).toBe(1);
    expect(rejected('other', 'TOKEN_MALFORMED')).toBe(1);
    expect(rejected('other', 'BODY_MALFORMED')).toBe(1);
    expect(total(scraped, 'mayfly_rejections_total', { issuer: 'other' })).toBe(5);
    expect(total(scraped, 'mayfly_rejections_total')).toBe(6);
  });

  test.each(['token', 'policy', 'proof', 'sign', 'log'])('how long the stage %s took', (stage) => {
    const samples = scraped.get('mayfly_stage_seconds')?.samples ?? [];
    expect(samples.some(({ labels, value }) => labels.stage === stage && labels.le === '+Inf' && value >= 1)).toBe(
      true,
    );
  });

  test('the log: one commit of one entry, a tree of one, a head of now, nothing in the queue', () => {
    expect(total(scraped, 'mayfly_ctlog_commits_total')).toBe(1);
    expect(total(scraped, 'mayfly_ctlog_commit_failures_total')).toBe(0);
    expect(total(scraped, 'mayfly_ctlog_commit_entries', { le: '1' })).toBe(1);
    expect(total(scraped, 'mayfly_ctlog_tree_size')).toBe(1);
    expect(total(scraped, 'mayfly_ctlog_queue_entries')).toBe(0);
    expect(Date.now() / 1000 - total(scraped, 'mayfly_ctlog_tree_head_timestamp_seconds')).toBeLessThan(60);
  });

  test("an issuer's keys, when they were fetched, and the attempts", () => {
    const of = { issuer: issuer.url };
    expect(total(scraped, 'mayfly_issuer_keys', of)).toBe(1);
    expect(Date.now() / 1000 - total(scraped, 'mayfly_issuer_keys_fetched_timestamp_seconds', of)).toBeLessThan(60);
    expect(total(scraped, 'mayfly_issuer_key_fetches_total', { ...of, result: 'ok' })).toBe(1);
  });

  test('the configuration in force', () => {
    expect(total(scraped, 'mayfly_identity_config_generation')).toBe(1);
    expect(total(scraped, 'mayfly_identity_config_last_reload_successful')).toBe(1);
  });
});

test('an issuer whose keys cannot be fetched is shown and makes nothing not ready', async () => {
  const down = 'http://127.0.0.1:9';
  expect(await ask(await issuer.token({ ...jane, iss: down }))).toBe(503);
  const answer = await fetch(`${server.url}/readyz`);
  expect(answer.status).toBe(200);
  const { checks } = (await answer.json()) as { checks: { name: string; target?: string }[] };
  const check = checks.find(({ target }) => target === down);
  expect(check).toMatchObject({ ok: false, required: false, reason: expect.stringContaining('cannot be fetched') });
  const now = await scrape(server);
  expect(total(now, 'mayfly_dependency_ready', { dependency: 'issuer', target: down })).toBe(0);
  expect(total(now, 'mayfly_dependency_ready', { dependency: 'issuer', target: issuer.url })).toBe(1);
  expect(total(now, 'mayfly_issuer_key_fetches_total', { issuer: down, result: 'failed' })).toBe(1);
  expect(total(now, 'mayfly_ready')).toBe(1);
});
