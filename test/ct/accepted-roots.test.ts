import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { createEphemeralCa } from '../../src/ca/ephemeral.js';
import { checkAcceptedRoots, endsInRoot, readRoots } from '../../src/ct/accepted-roots.js';

const answer = (status: number, body: string) => ({ status, retryAfter: undefined, body: Buffer.from(body) });
const ca = await createEphemeralCa(Date.now);
const stranger = await createEphemeralCa(Date.now);
const rootOf = ({ chain }: { chain: readonly Uint8Array[] }): Uint8Array => chain.at(-1) ?? new Uint8Array();

test('the roots of an answer to get-roots are DER', () => {
  const root = rootOf(ca);
  const text = JSON.stringify({ certificates: [Buffer.from(root).toString('base64')] });
  expect(readRoots(answer(200, text))).toEqual([Buffer.from(root)]);
});

test.each([
  ['404', answer(404, 'no'), 'HTTP status 404'],
  ['HTML', answer(200, '<html>'), 'not JSON'],
  ['null', answer(200, 'null'), 'no list of certificates'],
  ['no list', answer(200, '{"certificates":{}}'), 'no list of certificates'],
  ['what is not base64', answer(200, '{"certificates":["*"]}'), 'no list of certificates'],
])('%s is no list of roots', (_what, given, reason) => {
  expect(() => readRoots(given)).toThrow(reason);
});

test('any JSON is a list of bytes or refused with an Error', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        return readRoots(answer(200, text)).every((der) => der instanceof Uint8Array);
      } catch (error) {
        return /get-roots/.test(String(error));
      }
    }),
  );
});

test('a chain ends in a root that is its last certificate, or issued it, among others and among garbage', () => {
  const others = [rootOf(stranger), Uint8Array.of(1, 2, 3)];
  expect(endsInRoot(ca.chain, [...others, rootOf(ca)])).toBe(true);
  expect(endsInRoot(ca.chain, others)).toBe(false);
  expect(endsInRoot(ca.chain, [])).toBe(false);
  expect(endsInRoot([], [rootOf(ca)])).toBe(false);
});

test('a root of the same name and another key is not the root', () => {
  const [ours, theirs] = [ca, stranger].map((one) => new X509Certificate(rootOf(one)));
  expect(ours?.subject).toBe(theirs?.subject);
  expect(endsInRoot(ca.chain, [rootOf(stranger)])).toBe(false);
});

async function told(roots: () => Promise<readonly Uint8Array[]>, aborted = false): Promise<string[]> {
  const lines: string[] = [];
  const logger = {
    info: (_entry: object, line: string) => void lines.push(`info: ${line}`),
    warn: (_entry: object, line: string) => void lines.push(`warn: ${line}`),
  } as never;
  const signal = aborted ? AbortSignal.abort() : new AbortController().signal;
  await checkAcceptedRoots({ name: 'https://log.example', acceptedRoots: roots }, ca.chain, logger, signal);
  return lines;
}

test('the operator is told whether a log accepts the root, and when it does not say', async () => {
  expect(await told(async () => ca.chain)).toEqual(['info: the log https://log.example accepts the root of this CA']);
  expect(await told(async () => [rootOf(stranger)])).toEqual([
    expect.stringMatching(
      /^warn: the log https:\/\/log\.example does NOT accept the root of this CA \(.*\): it will refuse/,
    ),
  ]);
  expect(await told(() => Promise.reject(new Error('timeout')))).toEqual([
    'warn: the log https://log.example did not say which roots it accepts: timeout',
  ]);
  expect(await told(() => Promise.reject(new Error('aborted')), true)).toEqual([]);
});
