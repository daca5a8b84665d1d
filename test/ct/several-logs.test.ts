import { createPublicKey, type KeyObject } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embeddedScts, signedPrecertOf } from '../../src/cli/verify-certificate-fields.js';
import { logIdOf, verifySct } from '../../src/ct/sct.js';
import { decodePem } from '../../src/x509/pem.js';
import { type FakeLog, newLogKey, startFakeLog } from '../attacks/fake-log.js';
import { claims, closeAll, issuerUrl, jwt, keep, type Lab, openLab } from '../attacks/lab.js';
import type { Answer } from '../support/client.js';

/** A whole server with several logs. */

const identity = {
  'oidc-issuers': {
    [issuerUrl]: { 'client-id': 'sigstore', type: 'username', 'subject-domain': 'example.com', 'jwks-file': 'KEYS' },
  },
};
const dir = mkdtempSync(join(tmpdir(), 'mayfly-several-logs-'));

interface Entry {
  readonly log?: FakeLog;
  readonly embed?: boolean;
}

async function serve(required: number, entries: readonly Entry[]): Promise<Lab> {
  const logs = entries.map(({ log, embed = true }) =>
    log === undefined
      ? { embedded: true, embed }
      : { url: log.url, 'public-key': log.publicKeyPem, timeout: '300ms', embed },
  );
  const file = join(dir, 'logs.json');
  writeFileSync(file, JSON.stringify({ required, logs }));
  return openLab(identity, { flags: { 'ct-logs-config': file } });
}

const start = async (): Promise<FakeLog> => keep(await startFakeLog());
const ask = (lab: Lab): Promise<Answer> => lab.ask(jwt(claims()));
const keyOf = (log: FakeLog): KeyObject => createPublicKey(log.publicKeyPem);

/** The log ids of the SCTs in an answer; each is checked with its key. */
function logsIn(answer: Answer, keys: readonly KeyObject[]): string[] {
  expect(answer.status).toBe(200);
  const { chain } = Object.values(JSON.parse(answer.text))[0] as { chain: { certificates: string[] } };
  const [leaf, issuer] = chain.certificates.map((pem) => decodePem(pem, ['CERTIFICATE']).der);
  if (leaf === undefined || issuer === undefined) throw new Error('an answer without a chain');
  const precert = signedPrecertOf(leaf, issuer);
  const scts = embeddedScts(leaf);
  for (const sct of scts) expect(keys.some((key) => verifySct(sct, precert, key))).toBe(true);
  return scts.map(({ logId }) => Buffer.from(logId).toString('base64'));
}

const idOf = (key: KeyObject): string => Buffer.from(logIdOf(key)).toString('base64');

async function trustedLogs(lab: Lab): Promise<string[]> {
  const root = (await (await fetch(`${lab.server.url}/trust/trusted_root.json`)).json()) as {
    ctlogs: { logId: { keyId: string } }[];
  };
  return root.ctlogs.map(({ logId }) => logId.keyId);
}

async function embeddedKey(lab: Lab, others: readonly KeyObject[]): Promise<string> {
  const ids = others.map(idOf);
  const [id] = (await trustedLogs(lab)).filter((one) => !ids.includes(one));
  return id ?? 'none';
}

const readyz = async (lab: Lab): Promise<number> => (await fetch(`${lab.server.url}/readyz`)).status;

afterEach(closeAll);

test('two of three: a certificate carries two SCTs, and a dead log or a liar is done without', async () => {
  const [a, b, c] = [await start(), await start(), await start()];
  const keys = [a, b, c].map(keyOf);
  const lab = await serve(2, [{ log: a }, { log: b }, { log: c }]);
  expect(new Set(logsIn(await ask(lab), keys)).size).toBe(2);
  expect(await trustedLogs(lab)).toEqual(keys.map(idOf));

  b.behave({ key: newLogKey() });
  expect(logsIn(await ask(lab), keys).sort()).toEqual([idOf(keyOf(a)), idOf(keyOf(c))].sort());
  expect(await readyz(lab)).toBe(200);

  await c.close();
  const refused = await ask(lab);
  expect(refused.status).toBe(503);
  expect(JSON.parse(refused.text)).toMatchObject({ details: [{ reason: 'CT_LOG_UNAVAILABLE' }] });
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(await readyz(lab)).toBe(503);

  b.behave({});
  expect(logsIn(await ask(lab), keys).sort()).toEqual([idOf(keyOf(a)), idOf(keyOf(b))].sort());
  expect(await readyz(lab)).toBe(200);
});

test('one of two: the slow log is not waited for', async () => {
  const [fast, slow] = [await start(), await start()];
  slow.behave({ answer: () => undefined });
  const lab = await serve(1, [{ log: slow }, { log: fast }]);
  expect(logsIn(await ask(lab), [keyOf(fast)])).toEqual([idOf(keyOf(fast))]);
  expect(slow.submitted).toHaveLength(1);
});

test('our own log may be one of the N', async () => {
  const theirs = await start();
  const lab = await serve(2, [{ log: theirs }, {}]);
  const answer = await ask(lab);
  const ours = await embeddedKey(lab, [keyOf(theirs)]);
  const { chain } = Object.values(JSON.parse(answer.text))[0] as { chain: { certificates: [string] } };
  const scts = embeddedScts(decodePem(chain.certificates[0], ['CERTIFICATE']).der);
  const ids = scts.map(({ logId }) => Buffer.from(logId).toString('base64'));
  expect(ids.sort()).toEqual([ours, idOf(keyOf(theirs))].sort());
});

test('our own log may keep its record without being embedded, and is not in the trust files then', async () => {
  const theirs = await start();
  const lab = await serve(1, [{ log: theirs }, { embed: false }]);
  for (let i = 0; i < 3; i++) expect(logsIn(await ask(lab), [keyOf(theirs)])).toEqual([idOf(keyOf(theirs))]);
  expect(await trustedLogs(lab)).toEqual([idOf(keyOf(theirs))]);
  const size = async (): Promise<unknown> =>
    ((await (await fetch(`${lab.server.url}/ctlog/ct/v1/get-sth`)).json()) as { tree_size: unknown }).tree_size;
  for (const end = Date.now() + 5000; (await size()) !== 3 && Date.now() < end; ) await new Promise(setImmediate);
  expect(await size()).toBe(3);
});

test('a log that is not embedded may be down: it is not missed', async () => {
  const [theirs, further] = [await start(), await start()];
  const lab = await serve(1, [{ log: theirs }, { log: further, embed: false }]);
  await further.close();
  expect((await ask(lab)).status).toBe(200);
  expect(await readyz(lab)).toBe(200);
});

test('a log that comes and goes: certificates whenever it is there, never one without its SCT', async () => {
  const log = await start();
  const lab = await serve(1, [{ log }]);
  for (const there of [true, false, true, true, false, false, true]) {
    log.behave(there ? {} : { answer: (response) => response.writeHead(500).end() });
    const answer = await ask(lab);
    expect(answer.status).toBe(there ? 200 : 503);
    if (there) expect(logsIn(answer, [keyOf(log)])).toHaveLength(1);
  }
});
