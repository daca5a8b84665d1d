import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RunningServer } from '../../src/server/start.js';
import { emailConfig, eventually, start, startFailure, temporary } from '../server/lab.js';
import { post, v2Body } from '../support/client.js';
import { startIssuer } from '../support/issuer.js';

let dir: string;
let server: RunningServer | undefined;
beforeEach(() => {
  dir = temporary();
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(dir, { recursive: true });
});

const flags = (more: Record<string, string>, issuer = 'https://login.example.com'): Record<string, string> => ({
  'data-dir': join(dir, 'data'),
  'config-path': emailConfig(dir, issuer),
  ...more,
});

async function serve(more: Record<string, string>, issuer?: string): Promise<RunningServer> {
  server = await start(flags(more, issuer));
  return server;
}

const status = async (url: string, method = 'GET'): Promise<number> => (await fetch(url, { method })).status;

test('there is no page unless it is asked for', async () => {
  const { url, pageUrl } = await serve({});
  expect(pageUrl).toBeUndefined();
  expect([await status(`${url}/`), await status(`${url}/explore`), await status(`${url}/page/api/logs`)]).toEqual([
    404, 404, 404,
  ]);
  expect(await status(`${url}/ctlog/checkpoint`)).toBe(200);
});

test('--page puts it on the HTTP port, beside everything else', async () => {
  const { url, pageUrl } = await serve({ page: 'true', tsa: 'true' });
  expect(pageUrl).toBe(`${url}/`);
  const text = await (await fetch(`${url}/`)).text();
  expect(text).toContain(`${url}/ctlog`);
  expect(text).toContain('https://login.example.com');
  expect(text).toContain(`${url}/api/v1/timestamp`);
  for (const [, href] of text.matchAll(/(?:href|src)="((?!#)[^"]+)"/g)) {
    if (href !== undefined && !href.startsWith('https://www.'))
      expect([href, await status(new URL(href, `${url}/`).href)]).toEqual([href, 200]);
  }
  expect(await status(`${url}/ctlog/ct/v1/get-sth`)).toBe(200);
});

test('--page-port takes the page and the reads of the log with it', async () => {
  const { url, pageUrl = '' } = await serve({ page: 'true', 'page-port': '0', 'page-host': '127.0.0.1' });
  expect(new URL(pageUrl).port).not.toBe(new URL(url).port);
  const reads = ['ctlog/checkpoint', 'ctlog/ct/v1/get-sth', 'ctlog/ct/v1/get-entries?start=0&end=1'];
  for (const path of ['', 'explore', 'page/api/logs', 'page/api/logs/ctlog/entries', ...reads]) {
    expect([path, await status(`${url}/${path}`)]).toEqual([path, 404]);
    expect([path, await status(`${pageUrl}${path}`)]).not.toEqual([path, 404]);
  }
  expect(await status(`${url}/ctlog/ct/v1/add-pre-chain`, 'POST')).toBe(400);
  expect(await status(`${pageUrl}ctlog/ct/v1/add-pre-chain`, 'POST')).toBe(404);
  expect(await status(`${pageUrl}api/v2/signingCert`, 'POST')).toBe(404);
  expect(await status(`${pageUrl}readyz`)).toBe(200);
  expect(await (await fetch(pageUrl)).text()).toContain(`href="${url}/trust/ca.pem"`);
});

test('what the page has brought into memory is not read on the HTTP port either', async () => {
  const issuer = await startIssuer();
  try {
    const page = { page: 'true', 'page-port': '0', 'page-host': '127.0.0.1' };
    const { url, pageUrl = '' } = await serve(page, issuer.url);
    const token = await issuer.token({ email: 'jane@example.com', email_verified: true });
    const issued = await post(`${url}/api/v2/signingCert`, v2Body(token, 'jane@example.com'));
    expect(issued).toMatchObject({ status: 200 });
    const tile = 'ctlog/tile/data/000.p/1';
    await eventually(async () => (await status(`${pageUrl}${tile}`)) === 200);
    expect(await status(`${url}/${tile}`)).toBe(404);
  } finally {
    await issuer.close();
  }
});

test('without a log it says so', async () => {
  const { url } = await serve({ page: 'true', 'ct-log-url': '' });
  expect(await (await fetch(`${url}/explore`)).text()).toContain('issues without a log');
  expect(await (await fetch(`${url}/page/api/logs`)).json()).toEqual({ logs: [] });
});

test.each<[Record<string, string>, string]>([
  [{ 'page-port': '0' }, '--page-port is where the page is, and there is none without --page'],
  [{ page: 'true', 'page-host': '127.0.0.1' }, '--page-host is the address of --page-port, which is missing'],
  [{ page: 'yes' }, '--page is "yes"; expected true or false'],
  [{ page: 'true', 'page-port': '99999' }, '--page-port is "99999"; expected a port from 0 to 65535'],
])('%j is refused: %s', async (more, message) => {
  expect(await startFailure(flags(more))).toContain(message);
});
