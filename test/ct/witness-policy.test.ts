import fc from 'fast-check';
import { formatVerifierKey, parseVerifierKey, signatureType } from '../../src/ctlog/witness-note.js';
import { parseWitnessPolicy } from '../../src/ctlog/witness-policy.js';

/** The policy of c2sp.org/tlog-policy, and the verifier keys in it. */

const vkey = (seed: number, type: number = signatureType.cosignature, name = `w${seed}.example`): string =>
  formatVerifierKey({ name, type, publicKey: new Uint8Array(32).fill(seed) });
const witness = (name: string, seed: number): string => `witness ${name} ${vkey(seed)} https://${name}.example/`;
const parse = (...lines: readonly string[]) => parseWitnessPolicy(Buffer.from(`${lines.join('\n')}\n`));

const example = [
  `log ${vkey(9, signatureType.ed25519, 'log.example/2026')} https://log.example/2026`,
  '',
  '  # two operators',
  witness('X1', 1),
  `\twitness X2\t${vkey(2)}   https://x2.example:8443/prefix `,
  witness('X3', 3),
  'group X 2 X1 X2 X3',
  witness('Y1', 4),
  witness('Y2', 5),
  'group Y any Y1 Y2',
  'group both all X Y',
  'quorum both',
];

test.each<[readonly string[], boolean]>([
  [[], false],
  [['X1', 'X2'], false],
  [['X1', 'Y1'], false],
  [['X1', 'X3', 'Y2'], true],
  [['X1', 'X2', 'X3', 'Y1', 'Y2'], true],
  [['Y1', 'Y2'], false],
])('with cosignatures of %j the quorum of two groups is reached: %j', (names, expected) => {
  expect(parse(...example).satisfiedBy(new Set(names))).toBe(expected);
});

test('the witnesses come with their keys and URLs', () => {
  const { witnesses } = parse(...example);
  expect(witnesses.map(({ name, url }) => [name, url])).toEqual([
    ['X1', 'https://X1.example/'],
    ['X2', 'https://x2.example:8443/prefix'],
    ['X3', 'https://X3.example/'],
    ['Y1', 'https://Y1.example/'],
    ['Y2', 'https://Y2.example/'],
  ]);
  expect(witnesses[0]?.key).toEqual(parseVerifierKey(vkey(1)));
});

test('a quorum of none is always reached, and a single witness may be the quorum', () => {
  expect(parse('quorum none').satisfiedBy(new Set())).toBe(true);
  const one = parse(witness('W', 1), 'quorum W');
  expect(one.satisfiedBy(new Set())).toBe(false);
  expect(one.satisfiedBy(new Set(['W']))).toBe(true);
});

test('a key that a tool wrote as plain Ed25519 is taken', () => {
  const { witnesses } = parse(`witness W ${vkey(1, signatureType.ed25519)} http://127.0.0.1:1/`, 'quorum W');
  expect(witnesses).toHaveLength(1);
});

const two = [witness('A', 1), witness('B', 2)];

test.each<[string, readonly string[], string]>([
  ['nothing', [], 'no quorum line'],
  ['no quorum', two, 'no quorum line'],
  ['two quorums', [...two, 'quorum A', 'quorum B'], 'line 4: a second quorum'],
  ['an unknown keyword', ['witnesses A'], 'line 1: "witnesses" is unknown'],
  ['a keyword of JavaScript', ['constructor A'], '"constructor" is unknown'],
  ['a quorum that is not defined yet', ['quorum A', witness('A', 1)], 'line 1: no line before this one defines'],
  ['a group of the undefined', ['group G any A', 'quorum G'], 'no line before this one defines a witness or group "A"'],
  ['a group of itself', ['group G any G', 'quorum G'], 'no line before this one defines'],
  ['a group of nobody', ['group G any', 'quorum G'], 'expected "group NAME any|all|K MEMBER…"'],
  ['a member twice', [...two, 'group G 2 A A', 'quorum G'], '"A" is a member twice'],
  ['a member of two groups', [...two, 'group G any A', 'group H any A B', 'quorum H'], '"A" is a member twice'],
  ['none as a member', [...two, 'group G any none', 'quorum G'], 'defines a witness or group "none"'],
  ['none as a name', [witness('none', 1), 'quorum none'], 'has a meaning of its own'],
  ['a name twice', [witness('A', 1), witness('A', 2)], 'the name "A" is defined already'],
  ['a key twice', [witness('A', 1), witness('B', 1)], '"B" and "A" have one key'],
  ['a log twice', [`log ${vkey(1)}`, `log ${vkey(1)}`], 'the key of this log stands in a line before'],
  ['a threshold of 0', [...two, 'group G 0 A B'], 'the threshold is "0"'],
  ['a threshold of 3 of 2', [...two, 'group G 3 A B'], 'a number from 1 to 2'],
  ['a threshold of 1.5', [...two, 'group G 1.5 A B'], 'the threshold is "1.5"'],
  ['a threshold of 0x1', [...two, 'group G 0x1 A B'], 'the threshold is "0x1"'],
  ['a threshold of -1', [...two, 'group G -1 A B'], 'the threshold is "-1"'],
  ['a witness without URL', [`witness A ${vkey(1)}`], 'has no URL'],
  ['a witness on another scheme', [`witness A ${vkey(1)} file:///etc/passwd`], 'expected an http or https URL'],
  ['more after the URL', [`${witness('A', 1)} # mine`], 'expected "witness NAME VKEY URL"'],
  ['a witness without key', ['witness A'], 'expected "witness NAME VKEY URL"'],
  ['no verifier key', ['witness A abc https://a.example'], 'is no verifier key'],
  [
    'another key id',
    [`witness A ${vkey(1).replace(/\+[0-9a-f]{8}\+/, '+00000000+')} https://a.example`],
    'key id 00000000',
  ],
  ['a post-quantum key', [`witness A ${vkey(1, 6)} https://a.example`], 'signature type 6; expected 4'],
  ['a short key', [`log ${formatVerifierKey({ name: 'a', type: 1, publicKey: new Uint8Array(31) })}`], '31 bytes'],
  ['a carriage return', ['quorum none\r'], 'control character U+000d'],
  ['a NUL', ['quorum\u0000none'], 'control character U+0000'],
])('a policy with %s is refused', (_what, lines, message) => {
  expect(() => parse(...lines)).toThrow(message);
});

test('a policy that is no UTF-8, or too long, is refused', () => {
  expect(() => parseWitnessPolicy(Buffer.from([0x71, 0xff]))).toThrow();
  expect(() => parseWitnessPolicy(Buffer.alloc(300_000, '#'))).toThrow('expected at most');
});

test('whatever the bytes, the parser gives a policy or an Error', () => {
  const word = fc.constantFrom(
    'log',
    'witness',
    'group',
    'quorum',
    'any',
    'all',
    '2',
    'A',
    'B',
    'none',
    vkey(1),
    vkey(2),
    'http://a',
  );
  const text = fc
    .array(fc.array(word, { maxLength: 6 }).map((words) => words.join(' ')))
    .map((lines) => lines.join('\n'));
  const bytes = fc.oneof(
    text.map((value) => Buffer.from(value)),
    fc.uint8Array({ maxLength: 200 }),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      try {
        return typeof parseWitnessPolicy(input).satisfiedBy(new Set(['A'])) === 'boolean';
      } catch (error) {
        return (error as Error).message.length > 0;
      }
    }),
    { numRuns: 500 },
  );
});

test('more cosignatures never undo a quorum', () => {
  const names = ['X1', 'X2', 'X3', 'Y1', 'Y2'];
  const policy = parse(...example);
  fc.assert(
    fc.property(fc.subarray(names), fc.subarray(names), (some, more) => {
      return !policy.satisfiedBy(new Set(some)) || policy.satisfiedBy(new Set([...some, ...more]));
    }),
  );
});

test('every Ed25519 verifier key is read back as it was written', () => {
  const name = fc.string({ minLength: 1 }).filter((text) => /^[^\s+]+$/.test(text));
  const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(
    fc.property(name, fc.constantFrom(1, 4), key, (name, type, publicKey) => {
      const read = parseVerifierKey(formatVerifierKey({ name, type, publicKey }));
      expect({ ...read, publicKey: [...read.publicKey] }).toEqual({ name, type, publicKey: [...publicKey] });
    }),
  );
});
