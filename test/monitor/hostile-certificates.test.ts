import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { eventText, printable } from '../../src/cli/monitor-text.js';
import { certificateAround, describeCertificate } from '../../src/monitor/certificate.js';
import type { MatchEvent } from '../../src/monitor/events.js';
import { findingKinds } from '../../src/monitor/finding.js';
import { type Criteria, createMatcher } from '../../src/monitor/matcher.js';
import { encodeElement, encodeOid, tag } from '../../src/x509/der.js';
import { issuerKeyHash, issuingDer, newCertificate, party, rootDer } from '../ctlog/certificates.js';
import { temporaryDirectory } from '../ctlog/fixtures.js';
import { emailName, extension, FakeLog, fulcio, type Logged, monitor, of, precert, san } from './lab.js';

let directory: ReturnType<typeof temporaryDirectory>;
let log: FakeLog;
let publicKey: string;

beforeEach(async () => {
  directory = temporaryDirectory();
  log = await FakeLog.start();
  publicKey = join(directory.path, 'log.pem');
  writeFileSync(publicKey, String(log.publicKey.export({ type: 'spki', format: 'pem' })));
});
afterEach(async () => {
  await log.close();
  directory.dispose();
});

const jane = { all: false, identity: ['jane@example.com'] };
const kindsIn = (ran: Awaited<ReturnType<typeof monitor>>) =>
  ran.events.map((event) => (event.type === 'inconsistency' ? event.kind : event.type));
const withoutTls = (entry: Logged['entry']): Logged => ({ entry, precertificate: Buffer.from('none') });
const dated = (from: string, to: string) => (tbs: Buffer) => {
  const at = tbs.indexOf(from);
  return Buffer.concat([tbs.subarray(0, at), Buffer.from(to), tbs.subarray(at + from.length)]);
};

describe.each(['static-ct', 'rfc6962'])('through %s', (type) => {
  const run = (more: object = {}) => monitor(log, { publicKey, type, ...more });

  test.each<[string, () => Logged, string[], number]>([
    [
      'bytes that are no certificate',
      () => withoutTls({ type: 'precert', issuerKeyHash, tbs: Buffer.from('nonsense') }),
      ['unreadable-entry'],
      findingKinds['unreadable-entry'],
    ],
    [
      'a final certificate that is none',
      () => ({ entry: { type: 'x509', certificate: Buffer.from('3003020101', 'hex') } }),
      ['unreadable-entry'],
      findingKinds['unreadable-entry'],
    ],
    [
      'a certificate from before its CA',
      () => precert([san(emailName('jane@example.com'))], dated('240101000000Z', '230101000000Z')),
      ['outside-validity', 'match'],
      findingKinds['outside-validity'],
    ],
    [
      'another precertificate than the logged one',
      () => ({ ...of('jane@example.com'), precertificate: of('john@example.com').precertificate }),
      ['precertificate-mismatch', 'match'],
      findingKinds['precertificate-mismatch'],
    ],
    [
      'the key hash of another issuer',
      () => {
        const one = of('jane@example.com');
        if (one.entry.type !== 'precert') throw new Error('no precert');
        return { ...one, entry: { ...one.entry, issuerKeyHash: Buffer.alloc(32, 7) } };
      },
      ['precertificate-mismatch', 'match'],
      findingKinds['precertificate-mismatch'],
    ],
    [
      'names that cannot be read, behind which nobody hides',
      () => precert([san(Buffer.from('8180', 'hex'))]),
      ['unreadable-entry', 'match'],
      findingKinds['unreadable-entry'],
    ],
    [
      'a name that is not UTF-8',
      () => precert([san(encodeElement(tag.contextPrimitive(1), Buffer.from([0xff, 0xfe])))]),
      ['unreadable-entry', 'match'],
      findingKinds['unreadable-entry'],
    ],
    [
      'an issuer extension of another type',
      () =>
        precert([san(emailName('jane@example.com')), extension('1.3.6.1.4.1.57264.1.8', Buffer.from('0500', 'hex'))]),
      ['unreadable-entry', 'match'],
      findingKinds['unreadable-entry'],
    ],
  ])('%s is told, and the entries around it are seen', async (_name, make, kinds, code) => {
    log.append(of('jane@example.com'), make(), of('jane@example.com'));
    const ran = await run(jane);
    expect(kindsIn(ran)).toEqual(['match', ...kinds, 'match']);
    expect(ran.code).toBe(code);
  });

  test('a final certificate is read and matched', async () => {
    log.append({ entry: { type: 'x509', certificate: newCertificate() } });
    const ran = await run();
    expect(ran).toMatchObject({ code: 0, events: [{ entry: 'certificate', certificate: { subject: 'CN=leaf' } }] });
  });

  test('the issuing CA is known by its key, for either kind of entry', async () => {
    const stranger = party('test issuing CA');
    log.append(
      of('jane@example.com'),
      { entry: { type: 'x509', certificate: newCertificate() } },
      { entry: { type: 'x509', certificate: newCertificate(stranger) } },
    );
    const pem = (der: Uint8Array): string =>
      `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`;
    const [ca, root] = [join(directory.path, 'ca.pem'), join(directory.path, 'root.pem')];
    writeFileSync(ca, pem(issuingDer));
    writeFileSync(root, pem(rootDer));
    expect((await run({ all: false, issuingCa: [ca] })).events.map(({ index }) => index)).toEqual([0, 1]);
    expect((await run({ all: false, issuingCa: [root] })).events).toEqual([]);
  });

  test('a thousand names and very long ones are matched whole and shown in part', async () => {
    const names = Array.from({ length: 1000 }, (_, i) => emailName(`n${i}@example.com`));
    const long = `${'x'.repeat(40_000)}@example.com`;
    log.append(precert([san(...names)]), precert([san(emailName(long))]));
    const ran = await run({ all: false, identity: ['n999@example.com', long] });
    expect(ran.code).toBe(0);
    expect(ran.events).toHaveLength(2);
    expect(ran.out.length).toBeLessThan(500_000);
  });
});

test('what a certificate contains cannot write on the terminal', async () => {
  const evil = '\u001b[2J\u202eevil\r\nINCONSISTENT: fork\u2028@example.com';
  log.append(precert([san(emailName(evil)), fulcio(12, evil)]));
  const { out } = await monitor(log, { publicKey, json: false });
  expect(out).toContain('\\u{1b}[2J\\u{202e}evil\\u{d}\\u{a}INCONSISTENT');
  for (const line of out.split('\n').slice(1, -1)) expect(line).toMatch(/^ {2}[a-z]/);
});

test('no text can look like more than one line or hide a part of itself', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
      expect(printable(text)).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    }),
  );
});

test('no bytes make the reader of certificates fail in another way than with DerError', () => {
  const sound = of('jane@example.com').entry;
  const tbs = sound.type === 'precert' ? sound.tbs : Buffer.alloc(0);
  fc.assert(
    fc.property(fc.nat(tbs.length - 1), fc.nat(255), fc.nat(tbs.length), (at, byte, length) => {
      const bytes = Buffer.from(tbs).subarray(0, length === 0 ? tbs.length : length);
      if (at < bytes.length) bytes[at] = byte;
      try {
        describeCertificate(certificateAround(bytes));
      } catch (error) {
        expect((error as Error).name).toBe('DerError');
      }
    }),
    { numRuns: 2000 },
  );
});

describe('criteria', () => {
  const none: Criteria = { identities: [], issuers: [], extensions: {}, cas: [], ignoreCase: false, all: false };
  const candidateOf = (logged: Logged) => {
    if (logged.entry.type !== 'precert') throw new Error('no precert');
    const certificate = certificateAround(logged.entry.tbs);
    return { certificate, described: describeCertificate(certificate), issuerKeyHash: logged.entry.issuerKeyHash };
  };
  const repository = 'https://github.com/example/app';
  const workflow = precert([
    san(
      encodeElement(
        tag.contextPrimitive(6),
        Buffer.from(`${repository}/.github/workflows/release.yml@refs/heads/main`),
      ),
    ),
    fulcio(8, 'https://token.actions.githubusercontent.com'),
    fulcio(12, repository),
  ]);
  const username = precert([
    san(
      encodeElement(
        tag.context(0),
        encodeOid('1.3.6.1.4.1.57264.1.7'),
        encodeElement(tag.context(0), encodeElement(tag.utf8String, Buffer.from('jane!corp'))),
      ),
    ),
  ]);

  test.each<[string, Partial<Criteria>, Logged, boolean]>([
    ['nothing', {}, workflow, false],
    ['an exact identity', { identities: [{ kind: 'exact', text: 'jane@example.com' }] }, of('jane@example.com'), true],
    ['another case', { identities: [{ kind: 'exact', text: 'Jane@example.com' }] }, of('jane@example.com'), false],
    [
      'another case, ignored',
      { identities: [{ kind: 'exact', text: 'Jane@example.com' }], ignoreCase: true },
      of('jane@EXAMPLE.com'),
      true,
    ],
    ['a part of it', { identities: [{ kind: 'exact', text: 'jane@example' }] }, of('jane@example.com'), false],
    ['a glob', { identities: [{ kind: 'glob', text: '*@example.com' }] }, of('jane@example.com'), true],
    ['a glob with a slash in the way', { identities: [{ kind: 'glob', text: 'https://*' }] }, workflow, false],
    ['a double star', { identities: [{ kind: 'glob', text: `${repository}/**` }] }, workflow, true],
    ['a regular expression', { identities: [{ kind: 'regexp', text: '.*@example\\.com' }] }, of('j@example.com'), true],
    [
      'one that matches a part',
      { identities: [{ kind: 'regexp', text: '@example\\.com' }] },
      of('j@example.com'),
      false,
    ],
    ['a user name', { identities: [{ kind: 'exact', text: 'jane!corp' }] }, username, true],
    [
      'an extension',
      { extensions: { 'source-repository-uri': [{ kind: 'exact', text: repository }] } },
      workflow,
      true,
    ],
    [
      'an extension that is not there',
      { extensions: { 'build-trigger': [{ kind: 'glob', text: '**' }] } },
      workflow,
      false,
    ],
    [
      'one of two issuers',
      {
        issuers: [
          { kind: 'exact', text: 'https://other' },
          { kind: 'glob', text: 'https://token.**' },
        ],
      },
      workflow,
      true,
    ],
    [
      'the identity but not the issuer',
      {
        identities: [{ kind: 'glob', text: '**' }],
        issuers: [{ kind: 'exact', text: 'https://other' }],
      },
      workflow,
      false,
    ],
    [
      'a name too long for its pattern, which is shown',
      { identities: [{ kind: 'regexp', text: '(a|b)*c' }] },
      of('a'.repeat(60_000)),
      true,
    ],
  ])('%s', (_name, criteria, logged, expected) => {
    const matched = createMatcher({ ...none, ...criteria })(candidateOf(logged));
    expect(matched !== undefined).toBe(expected);
  });
});

test('text is for people: one certificate, its identity first', () => {
  const event: MatchEvent = {
    type: 'match',
    id: 'b9933b87e343ed1f2b40d5ea291b902a',
    time: '2026-01-01T00:00:00.000Z',
    log: { id: '', url: 'https://log.example' },
    index: 7,
    logged: '2026-01-01T00:00:00.000Z',
    entry: 'precertificate',
    leafHash: '00',
    matched: ['identity'],
    repeated: true,
    certificate: {
      serial: '0a',
      notBefore: '2026-01-01T00:00:00.000Z',
      notAfter: '2026-01-01T00:10:00.000Z',
      issuer: 'CN=ca',
      subject: '(empty name)',
      names: [{ kind: 'email', value: 'jane@example.com' }],
      extensions: { issuer: 'https://issuer.example', 'build-trigger': 'push' },
    },
  };
  expect(eventText(event)).toBe(`2026-01-01T00:00:00.000Z  precertificate in entry 7  (may have been told before)
  identity       jane@example.com (email)
  issuer         https://issuer.example
  valid          2026-01-01T00:00:00.000Z to 2026-01-01T00:10:00.000Z
  issuing CA     CN=ca
  serial         0a
  build-trigger  push
  event          b9933b87e343ed1f2b40d5ea291b902a
`);
});
