import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const chart = join(import.meta.dirname, '../../charts/mayfly');

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

export interface Dashboard {
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] };
}

export interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
}

export const dashboard = JSON.parse(readFileSync(join(chart, 'dashboards/mayfly.json'), 'utf8')) as Dashboard;

export const rules = (
  parse(readFileSync(join(chart, 'alerts/mayfly.rules.yaml'), 'utf8')) as { groups: { rules: Rule[] }[] }
).groups.flatMap((group) => group.rules);

/** A metric that an expression names, with the labels it is asked for. */
export interface Named {
  readonly metric: string;
  readonly labels: readonly string[];
}

const keywords = new Set(['and', 'or', 'unless', 'on', 'by', 'ignoring', 'without', 'offset', 'bool']);

/** The metrics in a PromQL expression, as far as these files use the language. */
export function metricsIn(expr: string): Named[] {
  const bare = expr.replace(/"[^"]*"/g, '""').replace(/\b(by|on|ignoring|without)\s*\([^)]*\)/g, ' ');
  const found = bare.matchAll(/(?<![\w:.$])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\}|\(|)/g);
  return [...found]
    .filter(([, name = '', rest]) => rest !== '(' && !keywords.has(name))
    .map(([, metric = '', matchers = '']) => ({
      metric,
      labels: [...matchers.matchAll(/(\w+)\s*[=!]/g)].map(([, label = '']) => label),
    }));
}

/** Every expression of dashboard and rules, with where it stands. */
export function expressions(): { readonly where: string; readonly expr: string }[] {
  const panels = dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ where: `panel ${title}`, expr })),
  );
  const ruled = rules.map(({ alert, record, expr }) => ({ where: `rule ${alert ?? record}`, expr }));
  return [...panels, ...ruled];
}
