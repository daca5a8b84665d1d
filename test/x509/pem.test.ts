import fc from 'fast-check';
import { decodePem, decodePemAll, encodePem, PemError } from '../../src/x509/pem.js';

const bytes = Buffer.from('a key of some length, long enough for two lines of base64 text');
const pem = encodePem('PUBLIC KEY', bytes);
const body = bytes.toString('base64');

test('encodePem writes lines of at most 64 characters and a last newline', () => {
  expect(pem.split('\n').every((line) => line.length <= 64)).toBe(true);
  expect(pem.endsWith('-----END PUBLIC KEY-----\n')).toBe(true);
});

test.each([
  ['as encodePem writes it', pem],
  ['with CRLF', pem.replaceAll('\n', '\r\n')],
  ['with base64 in one line and no last newline', `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----`],
  ['all in one line', `-----BEGIN PUBLIC KEY-----${body}-----END PUBLIC KEY-----`],
  ['after text', `hello\n${pem}`],
  ['before text', `${pem}\nhello`],
  ['before another block', pem + encodePem('CERTIFICATE', Buffer.from('x'))],
  ['with headers', pem.replace('KEY-----\n', 'KEY-----\nComment: mine\n\n')],
])('decodePem reads a block %s', (_, text) => {
  expect(Buffer.from(decodePem(text, ['PUBLIC KEY']).der)).toEqual(bytes);
  expect(Buffer.from(decodePem(Buffer.from(text), ['PUBLIC KEY']).der)).toEqual(bytes);
});

test.each([
  ['no block', 'garbage', 'found no "-----BEGIN'],
  ['another label first', encodePem('CERTIFICATE', bytes) + pem, 'label "CERTIFICATE"; expected "PUBLIC KEY"'],
  ['no END line', '-----BEGIN PUBLIC KEY-----\nAAAA\n', 'no "-----END PUBLIC KEY-----" line'],
  ['an END line of another label', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END KEY-----\n', 'no "-----END'],
  ['no base64', '-----BEGIN PUBLIC KEY-----\n????\n-----END PUBLIC KEY-----\n', 'base64'],
  ['missing padding', '-----BEGIN PUBLIC KEY-----\nAAA\n-----END PUBLIC KEY-----\n', 'base64'],
  ['nothing inside', '-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n', 'empty'],
  ['a BEGIN in the middle of a line', `x ${pem}`, 'found no'],
])('decodePem says what is wrong with %s', (_, text, message) => {
  expect(() => decodePem(text, ['PUBLIC KEY'])).toThrow(message);
  expect(() => decodePem(text, ['PUBLIC KEY'])).toThrow(PemError);
});

test('decodePemAll collects one label and passes over others', () => {
  const text = encodePem('CERTIFICATE', Buffer.from('1')) + pem + encodePem('CERTIFICATE', Buffer.from('2'));
  expect(decodePemAll(text, 'CERTIFICATE').map((der) => Buffer.from(der).toString())).toEqual(['1', '2']);
});

test('any bytes survive encoding, and any text gives a block or a PemError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), (der) =>
      expect(Buffer.from(decodePem(encodePem('X', der), ['X']).der)).toEqual(Buffer.from(der)),
    ),
  );
  const pieces = fc.array(
    fc.constantFrom('-----BEGIN ', 'A', '-----', '\n', '-----END A-----', ':', '=', ' ', 'AAAA'),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(pieces, (parts) => {
      try {
        decodePem(parts.join(''), ['A']);
      } catch (error) {
        expect(error).toBeInstanceOf(PemError);
      }
    }),
  );
});

test('four megabytes of BEGIN lines are read in linear time', () => {
  expect(() => decodePem('-----BEGIN '.repeat(400_000), ['A'])).toThrow(PemError);
  expect(() => decodePem('-----BEGIN A-----\n'.repeat(230_000), ['A'])).toThrow(PemError);
  expect(() => decodePem('\n-----BEGIN B'.repeat(300_000), ['A'])).toThrow(PemError);
});
