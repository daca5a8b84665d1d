import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { RunningServer } from '../../src/server/start.js';
import { emailConfig, start, temporary } from '../server/lab.js';
import { query, readReply } from './lab.js';

interface Authority {
  readonly uri: string;
  readonly validFor: { readonly start: string; readonly end?: string };
}

let dir: string;
let running: RunningServer | undefined;
beforeEach(() => {
  dir = temporary();
});
afterEach(async () => {
  await running?.close();
  rmSync(dir, { recursive: true, force: true });
});

async function restart(flags: Record<string, string>): Promise<RunningServer> {
  await running?.close();
  const config = emailConfig(dir, 'https://login.example.com');
  running = await start({ 'data-dir': join(dir, 'data'), 'config-path': config, ...flags });
  return running;
}

const trustFile = (name: string) => JSON.parse(readFileSync(join(dir, 'data/trust', name), 'utf8'));
const authorities = (): readonly Authority[] => trustFile('trusted_root.json').timestampAuthorities ?? [];

async function stamp({ url }: RunningServer) {
  const headers = { 'Content-Type': 'application/timestamp-query' };
  const response = await fetch(`${url}/api/v1/timestamp`, { method: 'POST', headers, body: query() });
  return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
}

test('a server without --tsa gives no timestamps and names no authority', async () => {
  const server = await restart({});
  expect((await stamp(server)).status).toBe(404);
  expect(authorities()).toEqual([]);
  expect(await (await fetch(`${server.url}/readyz`)).text()).not.toContain('timestamp-authority');
});

test('a server with --tsa gives timestamps, and every trust file names its authority', async () => {
  const server = await restart({ tsa: 'true' });
  const answer = await stamp(server);
  expect(answer.status).toBe(200);
  expect(readReply(answer.body)).toMatchObject({ status: 0 });
  const uri = `${server.publicUrl}/api/v1/timestamp`;
  expect(authorities()).toMatchObject([{ uri, validFor: { start: expect.any(String) } }]);
  expect(trustFile('signing_config.json')).toMatchObject({ tsaUrls: [{ url: uri }], tsaConfig: { selector: 'ANY' } });
  const chain = await (await fetch(`${server.url}/api/v1/timestamp/certchain`)).text();
  expect(await (await fetch(`${server.url}/trust/tsa.pem`)).text()).toBe(chain);
  expect(await (await fetch(`${server.url}/readyz`)).json()).toMatchObject({
    checks: expect.arrayContaining([{ name: 'timestamp-authority', ok: true, required: true }]),
  });
  expect(await (await fetch(server.metricsUrl)).text()).toContain('mayfly_tsa_ready 1');
});

test('what was stamped stays verifiable after --tsa is turned off and on again', async () => {
  await restart({ tsa: 'true' });
  const [first] = authorities();
  await restart({});
  expect(authorities()).toEqual([{ ...first, validFor: { ...first?.validFor, end: expect.any(String) } }]);
  expect(trustFile('signing_config.json').tsaUrls ?? []).toEqual([]);
  await restart({ tsa: 'true' });
  expect(authorities()).toEqual([first]);
});
