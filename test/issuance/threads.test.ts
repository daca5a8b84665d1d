import { generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import type { CertificateAuthority } from '../../src/ca/authority.js';
import { loadChain } from '../../src/ca/chain.js';
import { createRoot, rootLifetimeDays } from '../../src/ca/create.js';
import { createEphemeralCa } from '../../src/ca/ephemeral.js';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { embeddedScts } from '../../src/cli/verify-certificate-fields.js';
import { encodeSct, encodeSctList, logIdOf, verifySct } from '../../src/ct/sct.js';
import { openThreadedWork } from '../../src/issuance/threads.js';
import { type CertificateWork, localWork } from '../../src/issuance/work.js';
import { defaultKeyPolicy } from '../../src/proof.js';
import { encodePem } from '../../src/x509/pem.js';
import { assembleTbs } from '../../src/x509/tbs.js';
import { csrOf, type Pair, pairs, spkiOf } from '../proof/sample-keys.js';
import { challenge, order } from './orders.js';

const logger = pino({ level: 'silent' });
const threadUrl = new URL('../../src/issuance/thread.ts', import.meta.url);
const register = new URL('../fuzz/register.mjs', import.meta.url).href;

/** The thread as it is, from its source. */
function openThread(): Worker {
  const worker = new Worker(threadUrl, { execArgv: ['--import', register] });
  threads.push(worker);
  return worker;
}

const threads: Worker[] = [];
const opened: CertificateWork[] = [];
let ca: CertificateAuthority;

beforeAll(async () => {
  ca = await createEphemeralCa(Date.now);
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((work) => work.close()));
  threads.length = 0;
});

function work(count: number, open = openThread): CertificateWork {
  const made = openThreadedWork({ count, openThread: open, logger });
  opened.push(made);
  return made;
}

const sctList = () => encodeSctList([sct()]);

const sct = () => ({
  logId: randomBytes(32),
  timestamp: BigInt(Date.now()),
  extensions: randomBytes(8),
  signature: randomBytes(74),
});

test.each([1, 2])('%i threads make certificates that the CA has signed and that hold the key', async (count) => {
  const made = work(count);
  const orders = Array.from({ length: 20 }, (_, i) => order({}, ['P-256', 'P-384', 'P-521'][i % 3]));
  await Promise.all(
    orders.map(async (one) => {
      const { precertificate, parts, key } = await made.precertify(one, ca);
      const certificate = new X509Certificate(await made.certify({ parts, precertificate, sctList: sctList() }, ca));
      expect(certificate.verify(ca.signer.publicKey)).toBe(true);
      expect(new X509Certificate(precertificate).verify(ca.signer.publicKey)).toBe(true);
      expect(certificate.publicKey.export({ type: 'spki', format: 'pem' })).toBe(
        'key' in one.request && one.request.key,
      );
      expect(key.fingerprint).toMatch(/^[0-9a-f]{64}$/);
      expect(certificate.subjectAltName).toBe(`email:${challenge}`);
    }),
  );
  expect(threads).toHaveLength(count);
});

test('a thread and the calling thread make the same bytes of everything that is not signed', async () => {
  const one = order();
  const far = await work(1).precertify(one, ca);
  const near = await localWork.precertify(one, ca);
  expect(Buffer.from(far.parts.fields)).toEqual(Buffer.from(near.parts.fields));
  expect(Buffer.from(far.parts.extensions)).toEqual(Buffer.from(near.parts.extensions));
  expect({ ...far.key, spki: Buffer.from(far.key.spki) }).toEqual({ ...near.key, spki: Buffer.from(near.key.spki) });
});

test('what a thread refuses comes back with its code and its message', async () => {
  const made = work(1);
  const wrong = order({ challenges: ['somebody@else.example'] });
  const local = await localWork.precertify(wrong, ca).catch((error: unknown) => error);
  await expect(made.precertify(wrong, ca)).rejects.toMatchObject({ code: 'PROOF_INVALID', detail: detailOf(local) });
  const bad = order({ request: { kind: 'publicKey', key: 'nonsense', proof: randomBytes(8) } });
  await expect(made.precertify(bad, ca)).rejects.toMatchObject({ code: 'KEY_MALFORMED' });
  await expect(made.precertify(order(), ca)).resolves.toBeDefined();
});

test("a policy's refusal comes back from a thread with the rule, if a rule it was", async () => {
  const made = work(1);
  const refusing = (rule: string | undefined) =>
    order({
      policy: { ...defaultKeyPolicy, refused: new Map([['ecdsa-p256', { rule, detail: 'kein P-256 für Sie' }]]) },
    });
  const refusal = { code: 'POLICY_DENIED', detail: 'kein P-256 für Sie' };
  await expect(made.precertify(refusing('no "P-256"'), ca)).rejects.toMatchObject({ ...refusal, rule: 'no "P-256"' });
  await expect(made.precertify(refusing(undefined), ca)).rejects.toMatchObject({ ...refusal, rule: undefined });
});

test('a signing request is proven by a thread', async () => {
  const csr = (by: Pair) => Buffer.from(csrOf(by, { hash: 'sha256', algorithm: '1.2.840.10045.4.3.2' }));
  const made = work(1);
  const { key } = await made.precertify(order({ request: { kind: 'csr', csr: csr(pairs.p256) } }), ca);
  expect(Buffer.from(key.spki)).toEqual(spkiOf(pairs.p256.publicKey));
  const mixed = csr({
    publicKey: pairs.p256.publicKey,
    privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  });
  await expect(made.precertify(order({ request: { kind: 'csr', csr: mixed } }), ca)).rejects.toMatchObject({
    code: 'PROOF_INVALID',
  });
});

test('a certificate that is not what its precertificate promised is refused by a thread too', async () => {
  const made = work(2);
  const [one, other] = await Promise.all([made.precertify(order(), ca), made.precertify(order(), ca)]);
  const mixed = { parts: one.parts, precertificate: other.precertificate, sctList: sctList() };
  await expect(made.certify(mixed, ca)).rejects.toMatchObject({ code: 'INTERNAL' });
});

test('a proof over the second challenge is good, over neither it is not', async () => {
  const made = work(1);
  await expect(made.precertify(order({ challenges: ['other', challenge] }), ca)).resolves.toBeDefined();
  await expect(made.precertify(order({ challenges: ['other', 'third'] }), ca)).rejects.toMatchObject({
    code: 'PROOF_INVALID',
  });
});

test('when threads die under load nothing is lost, and others take their place', async () => {
  const made = work(2);
  await made.precertify(order(), ca);
  const orders = Array.from({ length: 60 }, () => order());
  const answers = orders.map((one, i) => {
    if (i === 20 || i === 40) void threads.at(i === 20 ? 0 : 1)?.terminate();
    return made.precertify(one, ca);
  });
  const results = await Promise.all(answers);
  for (const { precertificate } of results) {
    expect(new X509Certificate(precertificate).verify(ca.signer.publicKey)).toBe(true);
  }
  while (threads.length < 4) await new Promise((resolve) => setTimeout(resolve, 20));
  await expect(made.precertify(order(), ca)).resolves.toBeDefined();
});

test('a CA whose key is not in memory is served by the calling thread', async () => {
  const { privateKey: _, ...signer } = ca.signer;
  const remote = { ...ca, signer };
  const { precertificate } = await work(1).precertify(order(), remote);
  expect(new X509Certificate(precertificate).verify(ca.signer.publicKey)).toBe(true);
});

test('certificates of many CAs, one after the other, are signed by the right one', async () => {
  const made = work(1);
  const cas = await Promise.all(Array.from({ length: 7 }, () => createEphemeralCa(Date.now)));
  for (const issuing of [...cas, ...cas]) {
    const { precertificate } = await made.precertify(order(), issuing);
    expect(new X509Certificate(precertificate).verify(issuing.signer.publicKey)).toBe(true);
  }
});

test('with threads that cannot start, the calling thread does the work', async () => {
  const broken = (): Worker => new Worker('throw new Error("no")', { eval: true });
  await expect(work(1, broken).precertify(order(), ca)).resolves.toBeDefined();
});

function detailOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'detail' in error ? error.detail : undefined;
}

describe('SCT and certificate in one go', () => {
  const unsigned = (logKey: KeyObject) => {
    const { signature: _, ...rest } = sct();
    return { ...rest, logId: logIdOf(logKey) };
  };

  test.each(['P-256', 'P-384'] as const)(
    'a thread of a %s CA signs both, and the calling thread the same',
    async (curve) => {
      const logKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const issuing = curve === 'P-256' ? ca : await p384Ca();
      const made = work(1);
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const { precertificate, parts } = await made.precertify(order(), issuing);
          const one = { parts, precertificate, sct: unsigned(logKey.publicKey) };
          for (const { signature, certificate, seconds } of [
            await made.complete(one, issuing, logKey.privateKey),
            await localWork.complete(one, issuing, logKey.privateKey),
          ]) {
            const submission = { tbs: assembleTbs(parts), issuerKeyHash: issuing.issuerKeyHash };
            expect(verifySct({ ...one.sct, signature }, submission, logKey.publicKey)).toBe(true);
            expect(new X509Certificate(certificate).verify(issuing.signer.publicKey)).toBe(true);
            expect(embeddedScts(certificate).map(encodeSct)).toEqual([encodeSct({ ...one.sct, signature })]);
            expect(seconds).toBeGreaterThan(0);
          }
        }),
      );
    },
  );

  test('jobs of libuv’s pool and of the thread itself all come back', async () => {
    const made = work(1);
    const slow = Array.from({ length: 8 }, () => order({}, 'P-521'));
    await made.precertify(order(), ca);
    const ended: string[] = [];
    await Promise.all([
      ...slow.map(async (one) => {
        await made.precertify(one, ca);
        ended.push('slow');
      }),
      made.precertify(order(), ca).then(() => ended.push('fast')),
    ]);
    expect(ended).toContain('fast');
    expect(ended).toHaveLength(9);
  });

  test('each log’s SCT is signed with its own key, however many there are', async () => {
    const made = work(1);
    const { precertificate, parts } = await made.precertify(order(), ca);
    const keys = Array.from({ length: 9 }, () => generateKeyPairSync('ec', { namedCurve: 'P-256' }));
    const submission = { tbs: assembleTbs(parts), issuerKeyHash: ca.issuerKeyHash };
    for (const { privateKey, publicKey } of [...keys, ...keys]) {
      const one = { parts, precertificate, sct: unsigned(publicKey) };
      const { signature } = await made.complete(one, ca, privateKey);
      expect(verifySct({ ...one.sct, signature }, submission, publicKey)).toBe(true);
    }
  });

  test('a certificate that is not what its precertificate promised is refused', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const made = work(1);
    const [one, other] = await Promise.all([made.precertify(order(), ca), made.precertify(order(), ca)]);
    const mixed = { parts: one.parts, precertificate: other.precertificate, sct: unsigned(privateKey) };
    await expect(made.complete(mixed, ca, privateKey)).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(localWork.complete(mixed, ca, privateKey)).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  test('a thread that dies loses none', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const made = work(1);
    const { precertificate, parts } = await made.precertify(order(), ca);
    const answers = Array.from({ length: 40 }, (_, i) => {
      if (i === 20) void threads.at(0)?.terminate();
      return made.complete({ parts, precertificate, sct: unsigned(privateKey) }, ca, privateKey);
    });
    for (const { certificate } of await Promise.all(answers)) {
      expect(new X509Certificate(certificate).verify(ca.signer.publicKey)).toBe(true);
    }
  });
});

async function p384Ca(): Promise<CertificateAuthority> {
  const now = Date.now();
  const names = { organization: 'mayfly', commonName: 'P-384' };
  const root = await createRoot({ ...names, curve: 'P-384', now, lifetimeDays: rootLifetimeDays, random: randomBytes });
  return loadChain(encodePem('CERTIFICATE', root.certificate), createKeySigner(root.privateKey), now);
}

test('a request that is alone is served without a thread', async () => {
  const made = openThreadedWork({ count: 1, openThread, logger, isAlone: () => true });
  opened.push(made);
  const served = made.precertify(order(), ca);
  expect(made.threads().jobs).toBe(0);
  await expect(served).resolves.toBeDefined();
});
