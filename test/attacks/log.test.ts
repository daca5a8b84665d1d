import { mkdtempSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import { parseCertificate } from '../../src/x509/certificate.js';
import { decodePem } from '../../src/x509/pem.js';
import { startServerProcess } from '../fuzz/server-process.js';
import { post } from '../support/client.js';
import { type Behaviour, type FakeLog, newLogKey, startFakeLog } from './fake-log.js';
import {
  claims,
  closeAll,
  issuerUrl,
  jwt,
  keep,
  type Lab,
  type LabOptions,
  labFlags,
  leafOf,
  openLab,
  refusal,
  signingRequest,
} from './lab.js';

/** Logs that are down, slow or lie, a CA at its end, and a crash in the middle; against a running server. */

const identity = {
  'oidc-issuers': {
    [issuerUrl]: { 'client-id': 'sigstore', type: 'username', 'subject-domain': 'example.com', 'jwks-file': 'KEYS' },
  },
};
const sctList = '1.3.6.1.4.1.11129.2.4.2';
const poison = '1.3.6.1.4.1.11129.2.4.3';

function logFlags(log: FakeLog): Record<string, string> {
  const keyPath = join(mkdtempSync(join(tmpdir(), 'mayfly-log-key-')), 'log.pem');
  writeFileSync(keyPath, log.publicKeyPem);
  return { 'ct-log-url': log.url, 'ct-log-public-key-path': keyPath, 'ct-log-timeout': '500ms' };
}

async function withLog(options: LabOptions = {}): Promise<{ log: FakeLog; lab: Lab }> {
  const log = keep(await startFakeLog());
  const lab = await openLab(identity, { ...options, flags: logFlags(log) });
  return { log, lab };
}

async function ask(lab: Lab): Promise<string> {
  const token = jwt(claims());
  const answer = await lab.ask(token);
  return answer.status === 200 ? '200' : refusal(answer, token);
}

afterEach(closeAll);

test('an honest log: the certificate carries its SCT', async () => {
  const { log, lab } = await withLog();
  const answer = await lab.ask(jwt(claims()));
  expect(answer.status).toBe(200);
  const pem = (JSON.parse(answer.text) as { signedCertificateEmbeddedSct: { chain: { certificates: [string] } } })
    .signedCertificateEmbeddedSct.chain.certificates[0];
  expect(embeddedScts(decodePem(pem, ['CERTIFICATE']).der).length).toBe(1);
  expect(log.submitted.length).toBe(1);
});

test.each<[string, Behaviour, string]>([
  ['signs with another key', { key: newLogKey() }, 'CT_LOG_MISBEHAVED'],
  ['names another log', { idOf: newLogKey() }, 'CT_LOG_MISBEHAVED'],
  ['is another log altogether', ((key) => ({ key, idOf: key }))(newLogKey()), 'CT_LOG_MISBEHAVED'],
  ['signs a time in an hour', { timeOffsetMs: 3_600_000 }, 'CT_LOG_MISBEHAVED'],
  ['signs a time two days ago', { timeOffsetMs: -2 * 86_400_000 }, 'CT_LOG_MISBEHAVED'],
  ['signs another certificate', { previous: true }, 'CT_LOG_MISBEHAVED'],
  ['answers no JSON', { answer: (response) => response.end('<html>') }, 'CT_LOG_MISBEHAVED'],
  ['answers an empty object', { answer: (response) => response.end('{}') }, 'CT_LOG_MISBEHAVED'],
  ['redirects', { answer: (response) => response.writeHead(302, { location: '/x' }).end() }, 'CT_LOG_MISBEHAVED'],
  ['refuses', { answer: (response) => response.writeHead(400).end('no') }, 'CT_LOG_UNAVAILABLE'],
  ['is broken', { answer: (response) => response.writeHead(500).end() }, 'CT_LOG_UNAVAILABLE'],
  ['has no end', { answer: endless }, 'CT_LOG_UNAVAILABLE'],
  ['never answers', { answer: () => undefined }, 'CT_LOG_UNAVAILABLE'],
  ['hangs up', { answer: (response) => response.destroy() }, 'CT_LOG_UNAVAILABLE'],
])('a log that %s: nothing is issued, and the next honest answer is', async (_what, behaviour, reason) => {
  const { log, lab } = await withLog();
  expect(await ask(lab)).toBe('200');
  log.behave(behaviour);
  expect(await ask(lab)).toContain(`503 ${reason}: Error entering certificate in CTL`);
  const readiness = await (await fetch(`${lab.server.url}/readyz`)).text();
  expect(readiness).toContain('NOT_READY');
  expect((await fetch(`${lab.server.url}/healthz`)).status).toBe(200);
  log.behave({});
  expect(await ask(lab)).toBe('200');
  expect((await fetch(`${lab.server.url}/readyz`)).status).toBe(200);
});

function endless(response: ServerResponse): void {
  const more = (): void => {
    while (!response.destroyed && response.write('x'.repeat(65_536)));
  };
  response.on('drain', more);
  more();
}

test('a log that is down: 503 with Retry-After, and the rest of the server goes on', async () => {
  const { log, lab } = await withLog();
  await log.close();
  const answer = await lab.ask(jwt(claims()));
  expect([answer.status, Number(answer.headers.get('retry-after')) > 0]).toEqual([503, true]);
  expect((await fetch(`${lab.server.url}/api/v2/trustBundle`)).status).toBe(200);
});

test('a CA about to expire issues nothing that outlives it, and says so before clients notice', async () => {
  let nowMs = Date.now();
  const lab = await openLab(identity, { clock: () => nowMs });
  const first = await lab.ask(jwt(claims()));
  expect(first.status).toBe(200);
  const bundle = (await (await fetch(`${lab.server.url}/api/v2/trustBundle`)).json()) as {
    chains: [{ certificates: [string] }];
  };
  const { notAfter } = parseCertificate(decodePem(bundle.chains[0].certificates[0], ['CERTIFICATE']).der);
  const at = (ms: number) => {
    nowMs = ms;
    const now = Math.floor(ms / 1000);
    return jwt(claims({ iat: now, exp: now + 3_600 }));
  };
  const last = await lab.ask(at(notAfter.getTime() - 600_000));
  expect(leafOf(last).notAfter).toEqual(notAfter);
  const late = at(notAfter.getTime() - 599_000);
  expect(refusal(await lab.ask(late), late)).toMatch(/^503 CA_EXPIRING: /);
  const readyz = await fetch(`${lab.server.url}/readyz`);
  expect([readyz.status, await readyz.text()]).toEqual([503, expect.stringContaining('the issuing CA ends at')]);
  const past = at(notAfter.getTime() + 1_000);
  expect(refusal(await lab.ask(past), past)).toMatch(/^503 CA_EXPIRING: /);
});

test('a crash between precertificate and certificate leaves an orphan precertificate and nothing worse', async () => {
  const log = keep(await startFakeLog());
  const flags = { ...labFlags(identity), ...logFlags(log), 'ct-log-timeout': '30s' };
  const body = signingRequest(jwt(claims()));
  const first = keep(await startServerProcess(flags));
  const url = (port: number): string => `http://127.0.0.1:${port}/api/v2/signingCert`;
  const submitted = new Promise<void>((resolve) => log.behave({ answer: () => resolve() }));
  const asking = post(url(first.port), body).then(
    ({ status }) => `answered with ${status}`,
    () => 'nothing',
  );
  expect(await Promise.race([submitted, asking])).toBeUndefined();
  await first.stop('SIGKILL');
  expect(await asking).toBe('nothing');

  const [orphan] = log.submitted.map(parseCertificate);
  const oids = orphan?.extensions.map(({ oid }) => oid) ?? [];
  // Critical poison: no verifier takes it for a certificate (RFC 6962 Section 3.1).
  expect(orphan?.extensions.find(({ oid }) => oid === poison)?.critical).toBe(true);
  expect(oids).not.toContain(sctList);

  log.behave({});
  const second = keep(await startServerProcess(flags));
  const answer = await post(url(second.port), body);
  expect(answer.status).toBe(200);
  expect(leafOf(answer).serial).not.toEqual(orphan?.serial);
  expect(leafOf(answer).issuer).toEqual(orphan?.issuer);
  expect(log.submitted.length).toBe(2);
});
