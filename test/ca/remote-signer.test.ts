import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { openRemoteSigner } from '../../src/ca/remote-signer.js';
import { encodeOid } from '../../src/x509/der.js';
import { answers, fails, fakeKey, hangs, newKey, settle, testOptions } from './remote-key-fake.js';

const data = Buffer.from('a certificate to be');
const unavailable = {
  code: 'SIGNER_UNAVAILABLE',
  detail: 'the key of the certificate authority cannot sign now',
  httpStatus: 503,
};

async function open(change: Parameters<typeof testOptions>[0] = {}, key = fakeKey()) {
  const { options, ...rest } = testOptions(change);
  const signer = await openRemoteSigner(key, options);
  return { key, signer, ...rest };
}

/** A promise's outcome, taken without the test waiting for it. */
function outcomeOf(promise: Promise<unknown>): { value?: unknown; error?: unknown } {
  const outcome: { value?: unknown; error?: unknown } = {};
  promise.then(
    (value) => Object.assign(outcome, { value }),
    (error: unknown) => Object.assign(outcome, { error }),
  );
  return outcome;
}

describe('at the start', () => {
  test.each([
    ['P-256', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, 'sha256', '1.2.840.10045.4.3.2'],
    ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, 'sha384', '1.2.840.10045.4.3.3'],
    ['P-521', generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey, 'sha512', '1.2.840.10045.4.3.4'],
    ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, 'sha256', '1.2.840.113549.1.1.11'],
    ['Ed25519', generateKeyPairSync('ed25519').privateKey, null, '1.3.101.112'],
  ])('a %s key signs with the algorithm that belongs to it', async (_, privateKey, hash, oid) => {
    const { signer } = await open({}, fakeKey(privateKey));
    expect(Buffer.from(signer.signatureAlgorithm).includes(Buffer.from(encodeOid(oid)))).toBe(true);
    expect(verify(hash, data, signer.publicKey, await signer.sign(data))).toBe(true);
    await signer.close();
  });

  test('the key has signed once before anything is asked of it', async () => {
    const { key, signer } = await open();
    expect(key.calls.signed).toBe(1);
    expect(signer.trouble?.()).toBeUndefined();
  });

  const rsa1024 = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  test.each<[string, (key: ReturnType<typeof fakeKey>) => void, string]>([
    ['a backend that refuses', (key) => key.next.push(fails('CKR_PIN_INCORRECT')), 'CKR_PIN_INCORRECT'],
    [
      'a backend out of reach',
      (key) => {
        key.publicKeyError = new Error('ECONNREFUSED');
      },
      'ECONNREFUSED',
    ],
    [
      'a signature of another key',
      (key) => key.next.push(answers(sign('sha256', data, newKey('P-256')))),
      'returned a signature that does not verify with its public key',
    ],
    ['an empty signature', (key) => key.next.push(answers(new Uint8Array(0))), 'does not verify'],
    [
      'a key of a kind no CA may have',
      (key) => {
        key.privateKey = rsa1024;
      },
      'is of the kind RSA 1024; expected EC P-256, EC P-384',
    ],
  ])('%s is a start-up error that names setting and key', async (_, arrange, why) => {
    const key = fakeKey();
    arrange(key);
    const opened = openRemoteSigner(key, testOptions().options);
    await expect(opened).rejects.toMatchObject({
      code: 'STARTUP',
      detail: expect.stringMatching(/^--test-key: the fake key "ca": /),
    });
    await expect(opened).rejects.toThrow(why);
    expect(key.calls.closed).toBe(1);
  });

  test('a backend that hangs is a start-up error after the time limit', async () => {
    const key = fakeKey();
    key.next.push(hangs);
    const { options, time } = testOptions();
    const outcome = outcomeOf(openRemoteSigner(key, options));
    await settle();
    await time.advance(5000);
    expect(outcome.error).toMatchObject({
      code: 'STARTUP',
      detail: '--test-key: the fake key "ca": did not answer within 5000 ms',
    });
    expect(key.calls.aborted).toBe(1);
  });
});

describe('a call that fails', () => {
  test('is repeated once when a probe finds the key well again, and nobody notices', async () => {
    const { key, signer, changes } = await open();
    key.next.push(fails('a connection was reset'));
    expect(verify('sha256', data, signer.publicKey, await signer.sign(data))).toBe(true);
    expect(changes).toEqual([{ to: 'checking', reason: 'a connection was reset' }, { to: 'up' }]);
  });

  test('is unavailable when the probe fails too; then calls are refused without asking the backend', async () => {
    const { key, signer, changes, time } = await open();
    key.always = fails('the token was removed');
    await expect(signer.sign(data)).rejects.toMatchObject({ ...unavailable, retryAfterSeconds: 1 });
    expect(signer.trouble?.()).toBe('the token was removed');
    expect(changes.map(({ to }) => to)).toEqual(['checking', 'down']);
    const before = key.calls.mostRunning;
    key.next.length = 0;
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
    expect(key.calls.mostRunning).toBe(before);
    expect(time.pending()).toEqual([250]);
  });

  test('tells the client nothing of the backend', async () => {
    const { key, signer } = await open();
    key.always = fails('arn:aws:kms:eu-west-1:123456789012:key/secret-place');
    await expect(signer.sign(data)).rejects.toMatchObject({ publicMessage: expect.not.stringContaining('arn') });
  });

  test('is followed by probes with growing pauses, and recovery needs no request', async () => {
    const { key, signer, changes, time } = await open();
    key.always = fails('no route to host');
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
    const pauses: number[] = [];
    for (let i = 0; i < 9; i++) {
      const [pause] = time.pending();
      pauses.push(pause ?? 0);
      await time.advance(pause ?? 0);
    }
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    expect(changes.map(({ to }) => to)).toEqual(['checking', 'down']);
    await expect(signer.sign(data)).rejects.toMatchObject({ retryAfterSeconds: 15 });

    key.always = undefined;
    await time.advance(15_000);
    expect(signer.trouble?.()).toBeUndefined();
    expect(changes.at(-1)).toEqual({ to: 'up' });
    expect(verify('sha256', data, signer.publicKey, await signer.sign(data))).toBe(true);
    expect(time.pending()).toEqual([]);
  });

  test('shortens each pause by chance, by half at most', async () => {
    const { key, signer, time } = await open({ random: () => 0.999 });
    key.always = fails('no route to host');
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
    expect(time.pending()).toEqual([125]);
  });

  test('is refused after the time limit when the backend hangs, and aborted', async () => {
    const { key, signer, time } = await open();
    key.next.push(hangs);
    const outcome = outcomeOf(signer.sign(data));
    await settle();
    await time.advance(5000);
    expect(outcome.error).toMatchObject(unavailable);
    expect(key.calls.aborted).toBe(1);
    expect(signer.trouble?.()).toBeUndefined();
  });
});

describe('a wrong answer never gets out', () => {
  test.each([
    ['a signature of another key', () => sign('sha256', data, newKey('P-256'))],
    ['a signature of an empty text', () => new Uint8Array(0)],
    ['zeros', () => new Uint8Array(64)],
  ])('%s is refused', async (_, bad) => {
    const { key, signer } = await open();
    key.always = answers(bad());
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
    expect(signer.trouble?.()).toBe('returned a signature that does not verify with its public key');
  });

  test('a good signature over other data is refused', async () => {
    const { key, signer } = await open();
    key.always = answers(sign('sha256', Buffer.from('other data'), key.privateKey));
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
  });

  test('raw r||s where DER belongs is refused', async () => {
    const { key, signer } = await open();
    key.always = answers(sign('sha256', data, { key: key.privateKey, dsaEncoding: 'ieee-p1363' }));
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
  });

  test('an answer after the time limit goes nowhere, and the next call gets its own', async () => {
    const { key, signer, time } = await open();
    let late: (signature: Uint8Array) => void = () => undefined;
    key.next.push(() => new Promise((resolve) => (late = resolve)));
    const first = outcomeOf(signer.sign(Buffer.from('first')));
    await settle();
    await time.advance(5000);
    const second = Buffer.from('second');
    const signing = signer.sign(second);
    late(sign('sha256', Buffer.from('first'), key.privateKey));
    expect(verify('sha256', second, signer.publicKey, await signing)).toBe(true);
    expect(first).toEqual({ error: expect.objectContaining({ code: 'SIGNER_UNAVAILABLE' }) });
  });

  test('answers that come in another order reach those who asked', async () => {
    const { key, signer } = await open();
    const texts = Array.from({ length: 8 }, (_, i) => Buffer.from(`text ${i}`));
    const waiting: (() => void)[] = [];
    key.always = async () => {
      const text = texts[waiting.length] ?? data;
      await new Promise<void>((resolve) => waiting.push(resolve));
      return sign('sha256', text, key.privateKey);
    };
    const signatures = Promise.all(texts.map((text) => signer.sign(text)));
    await settle();
    for (const i of [2, 0, 3, 1]) waiting[i]?.();
    await settle();
    for (const i of [7, 6, 5, 4]) waiting[i]?.();
    for (const [i, signature] of (await signatures).entries()) {
      expect(verify('sha256', texts[i] ?? data, signer.publicKey, signature)).toBe(true);
    }
  });

  test('another key under the same name after a failure is refused until the old one is back', async () => {
    const { key, signer, time, changes } = await open();
    const old = key.privateKey;
    key.next.push(fails('the HSM restarted'));
    key.privateKey = newKey('P-256');
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
    expect(signer.trouble?.()).toMatch(/^holds another key now: SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}$/);
    await time.advance(250);
    await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
    expect(changes.filter(({ to }) => to === 'down')).toHaveLength(1);

    key.privateKey = old;
    await time.advance(500);
    expect(signer.publicKey.equals(createPublicKey(old))).toBe(true);
    expect(verify('sha256', data, signer.publicKey, await signer.sign(data))).toBe(true);
  });
});

describe('many calls at once', () => {
  test('reach the backend a few at a time', async () => {
    const { key, signer } = await open();
    await Promise.all(Array.from({ length: 12 }, () => signer.sign(data)));
    expect(key.calls.mostRunning).toBe(4);
  });

  test('are refused beyond the queue, which does not make the key count as broken', async () => {
    const { key, signer } = await open();
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => signer.sign(data)));
    const refused = results.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(8);
    expect(refused[0]).toMatchObject({ reason: { ...unavailable, retryAfterSeconds: 1 } });
    expect(signer.trouble?.()).toBeUndefined();
    expect(key.calls.signed).toBe(13);
  });

  test('wait for their turn no longer than a call may take', async () => {
    const { key, signer, time } = await open({ maxConcurrent: 1 });
    key.next.push(hangs);
    const first = outcomeOf(signer.sign(data));
    await settle();
    const second = outcomeOf(signer.sign(data));
    await time.advance(5000);
    expect([first.error, second.error]).toEqual([
      expect.objectContaining(unavailable),
      expect.objectContaining(unavailable),
    ]);
    expect(time.pending()).toEqual([]);
  });

  test('are all refused once the probe fails, those that waited too', async () => {
    const { key, signer } = await open();
    key.always = fails('the HSM is gone');
    const results = await Promise.allSettled(Array.from({ length: 12 }, () => signer.sign(data)));
    expect(results.every(({ status }) => status === 'rejected')).toBe(true);
    expect(key.calls.running).toBe(0);
  });
});

test('a closed signer signs no more, probes no more and closes its key', async () => {
  const { key, signer, time } = await open();
  key.always = fails('gone');
  await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
  await signer.close();
  expect(time.pending()).toEqual([]);
  expect(key.calls.closed).toBe(1);
  key.always = undefined;
  await expect(signer.sign(data)).rejects.toMatchObject(unavailable);
});
