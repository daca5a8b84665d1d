import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import {
  type Job,
  type Outcome,
  packJobs,
  packOutcomes,
  unpackJobs,
  unpackOutcomes,
} from '../../src/issuance/messages.js';
import { Unpacker } from '../../src/issuance/packed.js';
import type { PrecertOrder } from '../../src/issuance/steps.js';
import type { KeyRequest } from '../../src/proof.js';

const bytes = fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value));
const text = fc.string({ unit: 'binary', maxLength: 50 });
const date = fc.date({ noInvalidDate: true });

const request: fc.Arbitrary<KeyRequest> = fc.oneof(
  fc.record({ kind: fc.constant('csr' as const), csr: bytes }),
  fc.record({ kind: fc.constant('publicKey' as const), key: fc.oneof(text, bytes), proof: bytes }),
);
const order: fc.Arbitrary<PrecertOrder> = fc.record({
  request,
  challenges: fc.oneof(fc.tuple(text), fc.tuple(text, text)),
  policy: fc.record({
    allowed: fc.constant(new Set(['ed25519', 'ecdsa-p256'] as never)),
    refused: fc
      .dictionary(text, fc.record({ rule: text, detail: text }))
      .map((rows) => new Map(Object.entries(rows)) as never),
  }),
  leaf: fc.record({
    serial: bytes,
    notBefore: date,
    notAfter: date,
    san: fc.record({ kind: fc.constant('email' as const), value: text }),
    extensions: fc.record({ issuer: text, tokenSubject: text }, { requiredKeys: [] }),
  }),
  logged: fc.boolean(),
});
const parts = fc.record({ fields: bytes, extensions: bytes });
const numbers = { id: fc.nat(), ca: fc.nat() };
const job: fc.Arbitrary<Job> = fc.oneof(
  fc.record({ ...numbers, step: fc.constant('precertify' as const), order }),
  fc.record({
    ...numbers,
    step: fc.constant('certify' as const),
    order: fc.record({ parts, precertificate: bytes, sctList: bytes }),
  }),
  fc.record({
    ...numbers,
    step: fc.constant('complete' as const),
    logKey: fc.nat(),
    order: fc.record({
      parts,
      precertificate: bytes,
      sct: fc.record({ logId: bytes, extensions: bytes, timestamp: fc.bigInt({ min: 0n, max: 2n ** 48n }) }),
    }),
  }),
);

test('jobs come out of a message as they went in, whatever is in them', () => {
  fc.assert(
    fc.property(fc.array(job, { maxLength: 5 }), (jobs) => {
      expect(unpackJobs(structuredClone(packJobs(jobs)))).toEqual(jobs);
    }),
  );
});

test('outcomes come out of a message as they went in', () => {
  const key = { algorithm: 'ecdsa-p256' as never, fingerprint: 'ab', spki: randomBytes(91) };
  const made = { fields: randomBytes(300), extensions: Buffer.alloc(0) };
  const outcomes: Outcome[] = [
    { id: 1, precertified: { key, precertificate: randomBytes(900), parts: made, seconds: { proof: 0.1, sign: 0.2 } } },
    { id: 2, error: { code: 'PROOF_INVALID', detail: 'Grüße \u0000 \ud83d\ude00' } },
    { id: 3, certificate: randomBytes(1000) },
    { id: 4, completed: { signature: randomBytes(74), certificate: randomBytes(1100), seconds: 0.0003 } },
  ];
  expect(unpackOutcomes(structuredClone(packOutcomes(outcomes)))).toEqual(outcomes);
});

test('a message that is out of step is an error, not another certificate', () => {
  expect(() => unpackJobs([1, 2, 3])).toThrow('a message between threads holds number where a string belongs');
  expect(() => new Unpacker([]).bytes()).toThrow('undefined');
});
