import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { PinRefused, type TokenProcess } from '../../src/ca/pkcs11-child.js';
import type { Pkcs11Config } from '../../src/ca/pkcs11-config.js';
import { pkcs11Key } from '../../src/ca/pkcs11-key.js';
import type { OpenAnswer, OpenRequest } from '../../src/ca/pkcs11-messages.js';
import { signatureAlgorithmOf } from '../../src/ca/signature-algorithm.js';
import { encodeOid, readDer } from '../../src/x509/der.js';
import { newKey } from './remote-key-fake.js';

const config: Pkcs11Config = {
  modulePath: '/module.so',
  token: { by: 'label', value: 'fulcio' },
  pin: '2324',
  userType: 1,
  maxSessions: 1024,
  poolWaitMs: undefined,
};
const noAbort = new AbortController().signal;
const privateKey = newKey('P-256');

function answerFor(key: KeyObject): OpenAnswer {
  const { x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' });
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  return { key: { type: 'ec', params: encodeOid('1.2.840.10045.3.1.7'), point }, certificates: [] };
}

/** Processes without a module in them; `open` is what each one answers. */
function processes(open: (request: OpenRequest) => Promise<OpenAnswer>) {
  const log: string[] = [];
  const requests: OpenRequest[] = [];
  let count = 0;
  const start = (threads: number): TokenProcess => {
    const name = `process ${++count}`;
    log.push(`${name} starts with ${threads} threads`);
    return {
      open(request) {
        requests.push(request);
        return open(request);
      },
      sign: async (_mechanism, input) => {
        log.push(`${name} signs`);
        return sign(null, input, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      },
      close: async () => {
        log.push(`${name} ends`);
      },
    };
  };
  return { start, log, requests };
}

test('each look at the public key starts a process, and the one before has ended by then', async () => {
  const { start, log, requests } = processes(async () => answerFor(privateKey));
  const key = pkcs11Key(() => config, 'PKCS11CA', start);
  expect((await key.publicKey(noAbort)).equals(createPublicKey(privateKey))).toBe(true);
  await key.publicKey(noAbort);
  await key.close();
  expect(log).toEqual([
    'process 1 starts with 32 threads',
    'process 1 ends',
    'process 2 starts with 32 threads',
    'process 2 ends',
  ]);
  expect(requests[0]).toMatchObject({ ...config, keyLabel: 'PKCS11CA' });
});

test('it says which key it is, and not by which PIN', () => {
  const key = pkcs11Key(() => config, 'PKCS11CA', processes(async () => answerFor(privateKey)).start);
  expect(key.describe).toBe('the key "PKCS11CA" (--hsm-key-label) in the token with the label "fulcio"');
});

test('no more threads are asked for than the configuration has sessions', async () => {
  const { start, log } = processes(async () => answerFor(privateKey));
  await pkcs11Key(() => ({ ...config, maxSessions: 5 }), 'PKCS11CA', start).publicKey(noAbort);
  expect(log).toEqual(['process 1 starts with 4 threads']);
});

test('a refused PIN is tried once only, until the file has another', async () => {
  let pin = 'wrong';
  const { start, requests } = processes(async (request) => {
    if (request.pin === 'right') return answerFor(privateKey);
    throw new PinRefused('the token refuses the PIN (CKR_PIN_INCORRECT)');
  });
  const key = pkcs11Key(() => ({ ...config, pin }), 'PKCS11CA', start);
  const refused =
    'the token refuses the PIN (CKR_PIN_INCORRECT); it is not tried again, since that could lock the token';
  await expect(key.publicKey(noAbort)).rejects.toThrow(refused);
  await expect(key.publicKey(noAbort)).rejects.toThrow(refused);
  expect(requests).toHaveLength(1);
  pin = 'right';
  await expect(key.publicKey(noAbort)).resolves.toHaveProperty('type', 'public');
});

test('another failure is tried again', async () => {
  let isThere = false;
  const { start } = processes(async () => {
    if (isThere) return answerFor(privateKey);
    throw new Error('there is no token with the label "fulcio"');
  });
  const key = pkcs11Key(() => config, 'PKCS11CA', start);
  await expect(key.publicKey(noAbort)).rejects.toThrow('there is no token');
  isThere = true;
  await expect(key.publicKey(noAbort)).resolves.toHaveProperty('type', 'public');
});

test('a start that takes too long is given up and its process ended', async () => {
  const { start, log } = processes(() => new Promise(() => undefined));
  const key = pkcs11Key(() => config, 'PKCS11CA', start);
  const controller = new AbortController();
  void key.publicKey(controller.signal);
  await new Promise((resolve) => setImmediate(resolve));
  controller.abort();
  expect(log).toEqual(['process 1 starts with 32 threads', 'process 1 ends']);
});

test('nothing is signed before the token is open', async () => {
  const key = pkcs11Key(() => config, 'PKCS11CA', processes(async () => answerFor(privateKey)).start);
  const algorithm = signatureAlgorithmOf(privateKey);
  if (algorithm === undefined) throw new Error('no algorithm');
  await expect(key.sign(Buffer.from('a'), algorithm, noAbort)).rejects.toThrow('no token is open');
});

test('a signature of the token is turned into one for certificates', async () => {
  const { start } = processes(async () => answerFor(privateKey));
  const key = pkcs11Key(() => config, 'PKCS11CA', start);
  const publicKey = await key.publicKey(noAbort);
  const algorithm = signatureAlgorithmOf(publicKey);
  if (algorithm === undefined) throw new Error('no algorithm');
  const signature = await key.sign(Buffer.from('a'), algorithm, noAbort);
  expect(() => readDer(signature)).not.toThrow();
});
