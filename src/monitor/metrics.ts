import { createServer, type Server } from 'node:http';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { SignedTreeHead } from '../ctlog/checkpoint.js';
import { type FindingKind, findingKinds } from './finding.js';
import type { RoundResult } from './monitor.js';
import { treeHeadJson } from './rfc6962-source.js';

/** The instruments of one monitor, in a registry of its own. */
export interface MonitorMetrics {
  readonly registry: Registry;
  readonly matches: Counter;
  readonly inconsistencies: Counter<'kind'>;
  readonly deliveries: Counter<'sink' | 'result'>;
  readonly requests: Counter<'status'>;
  /** Entries that were found in the tree and looked at. */
  readonly checked: Gauge;
  /** Sets what a round shows; `now` in milliseconds since the epoch. */
  readonly round: (result: RoundResult, now: number) => void;
}

/** Builds the instruments; every kind of inconsistency begins at 0, so that an alert sees the first one. */
export function createMonitorMetrics(): MonitorMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const gauge = (name: string, help: string) => new Gauge({ name: `mayfly_monitor_${name}`, help, registers });
  const treeSize = gauge('tree_size', 'Entries of the last tree head that was believed');
  const headTime = gauge('tree_head_timestamp_seconds', 'Time of the last tree head that was believed');
  const lastRound = gauge('last_complete_round_timestamp_seconds', 'When the monitor last came to the end of the log');
  const checked = gauge('checked_entries', 'Entries of the log that were found in its tree and looked at');
  const standing = gauge('inconsistent', '1 while the last round found something wrong with the log');
  const inconsistencies = new Counter({
    name: 'mayfly_monitor_inconsistencies_total',
    help: 'Things that were wrong with the log, by kind; each is counted once for as long as it lasts',
    labelNames: ['kind'],
    registers,
  });
  for (const kind of Object.keys(findingKinds) as FindingKind[]) inconsistencies.inc({ kind }, 0);
  return {
    registry,
    matches: new Counter({ name: 'mayfly_monitor_matches_total', help: 'Certificates that matched', registers }),
    inconsistencies,
    deliveries: new Counter({
      name: 'mayfly_monitor_deliveries_total',
      help: 'Events by where they went and how it ended: delivered, failed',
      labelNames: ['sink', 'result'],
      registers,
    }),
    requests: new Counter({
      name: 'mayfly_monitor_requests_total',
      help: 'Answers of the log by HTTP status; error: none',
      labelNames: ['status'],
      registers,
    }),
    checked,
    round({ head, done, kinds, unavailable }, now) {
      checked.set(done);
      if (head !== undefined) {
        treeSize.set(head.size);
        headTime.set(head.timestamp / 1000);
      }
      standing.set(kinds.size > 0 ? 1 : 0);
      if (unavailable === undefined) lastRound.set(now / 1000);
    },
  };
}

/** `/metrics`, and at `/head` the last head that was believed, in the form of get-sth, for other monitors to compare. */
export function createMonitorServer(registry: Registry, head: () => SignedTreeHead | undefined): Server {
  return createServer((request, response) => {
    const path = request.method === 'GET' ? request.url?.split('?')[0] : undefined;
    const current = path === '/head' ? head() : undefined;
    if (current !== undefined) {
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(`${JSON.stringify(treeHeadJson(current))}\n`);
    } else if (path === '/metrics') {
      registry.metrics().then(
        (text) => response.writeHead(200, { 'Content-Type': registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    } else {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end('GET /metrics and /head are what this port has\n');
    }
  });
}
