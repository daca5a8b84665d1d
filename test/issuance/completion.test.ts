import { type KeyObject, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CertificateAuthority } from '../../src/ca/authority.js';
import { createEphemeralCa } from '../../src/ca/ephemeral.js';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import type { CtLog, CtLogs, PrecertSubmission, Sct } from '../../src/ct/log.js';
import { openLogSet } from '../../src/ct/log-set.js';
import { verifySct } from '../../src/ct/sct.js';
import { openEmbeddedLog } from '../../src/ctlog/log.js';
import type { LogStorage } from '../../src/ctlog/storage.js';
import { openCompletion } from '../../src/issuance/completion.js';
import type { Precertified } from '../../src/issuance/steps.js';
import { type CertificateWork, localWork } from '../../src/issuance/work.js';
import { assembleTbs } from '../../src/x509/tbs.js';
import { newLogKey, origin, silent } from '../ctlog/fixtures.js';
import { MemoryStorage } from '../ctlog/memory-storage.js';
import { order } from './orders.js';

let ca: CertificateAuthority;
let directory: string;
const logs: CtLog[] = [];

beforeAll(async () => {
  ca = await createEphemeralCa(Date.now);
  directory = mkdtempSync(join(tmpdir(), 'mayfly-completion-'));
});

afterAll(async () => {
  for (const log of logs) await log.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A log in memory whose commits wait for `gate`. */
async function openLog(key: KeyObject, gate: () => Promise<void> = async () => {}) {
  const storage: LogStorage = new MemoryStorage();
  const commit = storage.replaceCheckpoint.bind(storage);
  storage.replaceCheckpoint = async (expected, next) => {
    await gate();
    await commit(expected, next);
  };
  const log = await openEmbeddedLog({
    storage,
    indexDir: join(directory, `index-${logs.length}`),
    key,
    origin: `${origin}${logs.length}`,
    acceptedIssuers: () => [ca.chain],
    clock: Date.now,
    logger: silent,
  });
  logs.push(log);
  return log;
}

async function precertified(): Promise<Precertified & { submission: PrecertSubmission }> {
  const made = await localWork.precertify(order(), ca);
  const { chain, issuerKeyHash } = ca;
  const { precertificate } = made;
  return { ...made, submission: { precertificate, chain, tbs: assembleTbs(made.parts), issuerKeyHash } };
}

/** Local work that counts. */
function counting(over: Partial<CertificateWork> = {}): CertificateWork & { done: string[] } {
  const done: string[] = [];
  return {
    ...localWork,
    done,
    complete(order, issuer, key) {
      done.push('complete');
      return (over.complete ?? localWork.complete)(order, issuer, key);
    },
    certify(order, issuer) {
      done.push('certify');
      return localWork.certify(order, issuer);
    },
  };
}

const lone = (log: CtLog): CtLogs => openLogSet({ members: [{ log, embed: true }], required: 1, logger: silent });

test('the certificate that was signed with the SCT carries it, and both verify', async () => {
  const key = newLogKey();
  const set = lone(await openLog(key));
  const made = await precertified();
  const work = counting();
  const completion = openCompletion(work, made, ca);
  const scts = await set.submit(made.submission, undefined, completion.signSct);
  const { certificate, seconds } = await completion.certificate(scts);

  expect(work.done).toEqual(['complete']);
  expect(seconds).toBeGreaterThan(0);
  expect(new X509Certificate(certificate).verify(ca.signer.publicKey)).toBe(true);
  const [sct] = scts as [Sct];
  expect(verifySct(sct, made.submission, key)).toBe(true);
  expect(embeddedScts(certificate).map(({ signature }) => Buffer.from(signature))).toEqual([
    Buffer.from(sct.signature),
  ]);
});

test('it is signed while the log writes, and nobody gets SCT or certificate before the log has committed', async () => {
  let open = (): void => {};
  let held: Promise<void> | undefined;
  const set = lone(await openLog(newLogKey(), async () => held));
  held = new Promise((resolve) => {
    open = resolve;
  });
  const made = await precertified();
  let told = (): void => {};
  const signed = new Promise<void>((resolve) => {
    told = resolve;
  });
  const work = counting({
    async complete(order, issuer, key) {
      const completed = await localWork.complete(order, issuer, key);
      told();
      return completed;
    },
  });
  const completion = openCompletion(work, made, ca);
  let answered = false;
  const submitted = set.submit(made.submission, undefined, completion.signSct).finally(() => {
    answered = true;
  });
  await signed;
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(answered).toBe(false);
  open();
  await submitted;
});

test('a commit that fails gives neither, although both were signed', async () => {
  let signed: Promise<void> | undefined;
  const set = lone(
    await openLog(newLogKey(), async () => {
      if (signed === undefined) return;
      await signed;
      throw new Error('the disk is gone');
    }),
  );
  let told = (): void => {};
  signed = new Promise((resolve) => {
    told = resolve;
  });
  const made = await precertified();
  const work = counting({
    async complete(order, issuer, key) {
      const completed = await localWork.complete(order, issuer, key);
      told();
      return completed;
    },
  });
  const { signSct } = openCompletion(work, made, ca);
  await expect(set.submit(made.submission, undefined, signSct)).rejects.toMatchObject({ code: 'CT_LOG_UNAVAILABLE' });
  expect(work.done).toEqual(['complete']);
});

test('a request that is given up while both are being signed gets neither', async () => {
  const set = lone(await openLog(newLogKey()));
  const made = await precertified();
  const limit = new AbortController();
  const work = counting({
    complete: () => {
      setTimeout(() => limit.abort(), 20);
      return new Promise(() => {});
    },
  });
  const { signSct } = openCompletion(work, made, ca);
  await expect(set.submit(made.submission, limit.signal, signSct)).rejects.toMatchObject({
    code: 'CT_LOG_UNAVAILABLE',
    detail: 'the log did not answer in time',
  });
});

test('with two logs the certificate is signed afterwards, with both SCTs', async () => {
  const members = [await openLog(newLogKey()), await openLog(newLogKey())].map((log) => ({ log, embed: true }));
  const set = openLogSet({ members, required: 2, logger: silent });
  const made = await precertified();
  const work = counting();
  const completion = openCompletion(work, made, ca);
  const { certificate } = await completion.certificate(
    await set.submit(made.submission, undefined, completion.signSct),
  );
  expect(work.done).toEqual(['certify']);
  expect(embeddedScts(certificate)).toHaveLength(2);
});

test('an entry that the log has already gets its first SCT’s place, and a certificate of its own', async () => {
  const key = newLogKey();
  const set = lone(await openLog(key));
  const made = await precertified();
  const [first] = await set.submit(made.submission);
  const work = counting();
  const completion = openCompletion(work, made, ca);
  const scts = await set.submit(made.submission, undefined, completion.signSct);
  expect(scts[0]?.extensions).toEqual(first?.extensions);
  await expect(completion.certificate(scts)).resolves.toBeDefined();
  expect(work.done).toEqual(['certify']);
});

test('an early signature that fails costs the time for another one, not the certificate', async () => {
  const key = newLogKey();
  const set = lone(await openLog(key));
  const made = await precertified();
  const work = counting({ complete: () => Promise.reject(new Error('no')) });
  const completion = openCompletion(work, made, ca);
  const scts = await set.submit(made.submission, undefined, completion.signSct);
  expect(verifySct((scts as [Sct])[0], made.submission, key)).toBe(true);
  await expect(completion.certificate(scts)).resolves.toBeDefined();
  expect(work.done).toEqual(['complete', 'certify']);
});

test('a CA whose key is elsewhere signs nothing early', () => {
  const { privateKey: _, ...signer } = ca.signer;
  const parts = { fields: new Uint8Array(), extensions: new Uint8Array() };
  const from = { parts, precertificate: new Uint8Array() };
  expect(openCompletion(localWork, from, { ...ca, signer }).signSct).toBeUndefined();
});
