import { table } from './figures.js';
import type { Measured } from './measure.js';

/** Every run of one target at one number of connections, in the order they were made. */
export interface Series {
  readonly name: string;
  readonly connections: number;
  readonly runs: Measured[];
}

interface Column {
  readonly title: string;
  readonly value: (run: Measured) => number | undefined;
  readonly digits: number;
}

const columns: readonly Column[] = [
  { title: 'certificates/s', value: (run) => run.certificatesPerSecond, digits: 0 },
  { title: 'p50 ms', value: (run) => run.p50, digits: 2 },
  { title: 'p95 ms', value: (run) => run.p95, digits: 2 },
  { title: 'p99 ms', value: (run) => run.p99, digits: 2 },
  { title: 'errors', value: (run) => run.failed + run.broken, digits: 0 },
  { title: 'RSS MB', value: (run) => run.rssMb, digits: 0 },
  { title: 'loop lag p99 ms', value: (run) => run.eventLoopLagMs, digits: 1 },
  { title: 'CPU ms/cert', value: (run) => run.cpuMsPerCertificate, digits: 3 },
  { title: 'commits/s', value: (run) => run.commitsPerSecond, digits: 0 },
];

/** All figures as a Markdown table: the median of the runs and, where there are several, the smallest and largest. */
export function figuresTable(series: readonly Series[]): string {
  const head = ['target', 'connections', ...columns.map(({ title }) => title)];
  const ordered = [...series].sort((a, b) => a.connections - b.connections || a.name.localeCompare(b.name));
  const rows = ordered.map(({ name, connections, runs }) => [
    name,
    `${connections}`,
    ...columns.map(({ value, digits }) => spread(runs.map(value), digits)),
  ]);
  return table([head, ...rows]);
}

/** Certificates/s and p50 of one target over those of each other, run by run: the ratio of pairs that ran next to each other. */
export function ratioTable(series: readonly Series[], name: string): string {
  const rows = [['ratio', 'connections', 'certificates/s', 'p50']];
  for (const ours of series.filter((row) => row.name === name)) {
    for (const other of series.filter((row) => row.name !== name && row.connections === ours.connections)) {
      const ratios = (value: (run: Measured) => number): string =>
        spread(
          ours.runs.map((run, i) => {
            const peer = other.runs[i];
            return peer === undefined ? undefined : value(run) / value(peer);
          }),
          2,
        );
      const rate = ratios((run) => run.certificatesPerSecond);
      rows.push([`${name} ÷ ${other.name}`, `${ours.connections}`, rate, ratios((run) => run.p50)]);
    }
  }
  return table(rows);
}

function spread(values: readonly (number | undefined)[], digits: number): string {
  const known = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  const median = known[Math.floor(known.length / 2)];
  const [least] = known;
  const most = known.at(-1);
  if (median === undefined || least === undefined || most === undefined) return '';
  const text = (value: number): string => value.toFixed(digits);
  return known.length === 1 || text(least) === text(most)
    ? text(median)
    : `${text(median)} (${text(least)}–${text(most)})`;
}
