import { cpSync, rmSync } from 'node:fs';
import { jest } from '@jest/globals';
import { Ledger } from './ledger.js';
import { createInstance, type Instance, requestCertificate } from './server.js';

jest.setTimeout(120_000);

let instance: Instance;
/** A ledger with a certificate and the tree head after it, and the log that gave them. */
async function seen(): Promise<{ ledger: Ledger; log: Parameters<Ledger['check']>[0] }> {
  const ledger = new Ledger();
  const server = await instance.start();
  const { certificate } = await requestCertificate(instance, await instance.token());
  ledger.promised(certificate ?? [], instance.logKey());
  ledger.saw(await instance.head());
  await server.stop('SIGTERM');
  return { ledger, log: { directory: instance.logDir, origin: instance.origin, key: instance.logKey() } };
}

beforeEach(async () => {
  instance = await createInstance();
});

afterEach(() => instance.close());

test('a log that keeps its promises passes', async () => {
  const { ledger, log } = await seen();
  await ledger.check(log);
  expect(ledger.verdict()).toEqual({ lost: 0, forked: 0, backwards: 0, details: [] });
});

test('a log that was put back to a moment before a certificate has lost it', async () => {
  const server = await instance.start();
  await server.stop('SIGTERM');
  const copy = `${instance.dataDir}-copy`;
  cpSync(instance.logDir, copy, { recursive: true });
  const { ledger, log } = await seen();
  rmSync(instance.logDir, { recursive: true });
  cpSync(copy, instance.logDir, { recursive: true });
  await ledger.check(log);
  expect(ledger.verdict()).toMatchObject({ lost: 1, forked: 1, backwards: 0 });
  expect(ledger.verdict().details).toEqual([
    'entry 0 is not what its SCT promised; the log has 0 entries',
    'a tree head of size 1 was seen; the log has 0 entries',
  ]);
});

test('a second root of one size is a fork', async () => {
  const { ledger, log } = await seen();
  ledger.sawRoot(1, Buffer.alloc(32));
  await ledger.check(log);
  expect(ledger.verdict()).toMatchObject({ lost: 0, forked: 1, backwards: 0 });
});

test.each([
  ['smaller', { size: 0, timestamp: 2 }],
  ['older', { size: 1, timestamp: 0 }],
])('a tree head that is %s than the one before goes backwards', async (_, head) => {
  const rest = { root: Buffer.alloc(32), signature: Buffer.of() };
  const ledger = new Ledger();
  ledger.saw({ size: 1, timestamp: 1, ...rest });
  ledger.saw({ ...head, ...rest });
  expect(ledger.verdict()).toMatchObject({ backwards: 1 });
});
