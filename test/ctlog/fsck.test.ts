import { createPublicKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { type FsckOptions, fsckLog } from '../../src/ctlog/fsck.js';
import type { Finding } from '../../src/ctlog/fsck-files.js';
import { openHttpReader } from '../../src/ctlog/fsck-http.js';
import { checkpointPath, type LogReader } from '../../src/ctlog/storage.js';
import { newCertificate, newPrecertificate, party } from './certificates.js';
import { newLogKey, origin } from './fixtures.js';
import { headTime, readerOf, type SyntheticOptions, syntheticLog } from './synthetic-log.js';

const key = newLogKey();
const publicKey = createPublicKey(key);
const keys = { key, publicKey };
const files = (size: number, more: Partial<SyntheticOptions> = {}) => syntheticLog({ size, ...keys, ...more });

async function check(reader: LogReader, more: Partial<FsckOptions> = {}) {
  const findings: Finding[] = [];
  const report = (finding: Finding) => void findings.push(finding);
  const summary = await fsckLog(reader, { logKey: publicKey, origin, report, ...more });
  return { findings, summary };
}

/** A log of 700 entries after something was done to its files. */
async function damaged(change: (log: Map<string, Uint8Array>) => void): Promise<Finding[]> {
  const log = files(700);
  change(log);
  return (await check(readerOf(log))).findings;
}

describe('a sound log', () => {
  test.each([0, 1, 2, 255, 256, 257, 511, 512, 700, 65_536, 65_536 + 256 + 3])('of %i entries passes', async (size) => {
    const { findings, summary } = await check(readerOf(files(size)));
    expect(findings).toEqual([]);
    expect(summary).toMatchObject({ size, origin, outOfOrder: 0, issuers: size === 0 ? 0 : 2 });
  });

  test('passes when its partial tiles have given way to full ones', async () => {
    const log = new Map([...files(300), ...files(512)]);
    for (const path of log.keys()) if (/[/](data|0)[/].*[.]p[/]/.test(path)) log.delete(path);
    log.set(checkpointPath, files(300).get(checkpointPath) ?? Buffer.of());
    expect((await check(readerOf(log))).findings).toEqual([]);
  });

  test('passes with lines of cosigners on its checkpoint', async () => {
    const log = files(3);
    const line = `— witness.example ${randomBytes(76).toString('base64')}\n`;
    log.set(checkpointPath, Buffer.concat([log.get(checkpointPath) ?? Buffer.of(), Buffer.from(line)]));
    expect((await check(readerOf(log))).findings).toEqual([]);
  });

  test('passes when entries are out of order, and that is counted', async () => {
    const { findings, summary } = await check(readerOf(files(5, { timeOf: (i) => headTime - i })));
    expect(findings).toEqual([]);
    expect(summary).toMatchObject({ outOfOrder: 4, lastTimestamp: headTime });
  });

  test('tells how far it is, and never reads more than a few tiles ahead', async () => {
    const log = files(20 * 256);
    const seen: number[] = [];
    let furthest = 0;
    const reader: LogReader = {
      name: 'memory',
      async fetch(path) {
        const tile = /^tile\/data\/(\d{3})$/.exec(path)?.[1];
        if (tile !== undefined) furthest = Math.max(furthest, Number(tile) - seen.length);
        return log.get(path);
      },
    };
    await fsckLog(reader, { logKey: publicKey, origin, report: () => {}, progress: (count) => seen.push(count) });
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => (i + 1) * 256));
    expect(furthest).toBeLessThan(9);
  });
});

const put = (path: string, change: (bytes: Uint8Array) => Uint8Array) => (log: Map<string, Uint8Array>) => {
  log.set(path, change(Buffer.from(log.get(path) ?? Buffer.of())));
};
const flip = (at: number) => (bytes: Uint8Array) => {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
};
const without = (path: string) => (log: Map<string, Uint8Array>) => void log.delete(path);
const firstIssuer = [...files(1).keys()].find((path) => path.startsWith('issuer/')) ?? '';

describe('what is wrong is said by file', () => {
  test.each<[string, (log: Map<string, Uint8Array>) => void, Partial<Record<keyof Finding, RegExp | string>>]>([
    ['a missing data tile', without('tile/data/001'), { file: 'tile/data/001', found: 'it is missing' }],
    ['a missing partial data tile', without('tile/data/002.p/188'), { file: 'tile/data/002.p/188' }],
    ['a torn data tile', put('tile/data/001', (b) => b.subarray(0, 5000)), { file: 'tile/data/001' }],
    ['a changed time in an entry', put('tile/data/000', flip(7)), { file: 'tile/0/000', expected: /^hash 0 to be / }],
    ['a missing hash tile', without('tile/0/001'), { file: 'tile/0/001', expected: 'a tile of 256 hashes' }],
    ['a short hash tile', put('tile/0/001', (b) => b.subarray(32)), { file: 'tile/0/001', found: '8160 bytes' }],
    ['a changed hash', put('tile/0/001', flip(3 * 32)), { file: 'tile/0/001', expected: /^hash 3 to be / }],
    ['a changed hash higher up', put('tile/1/000.p/2', flip(32)), { file: 'tile/1/000.p/2', expected: /^hash 1 / }],
    ['a missing issuer', without(firstIssuer), { file: firstIssuer, found: 'it is missing' }],
    ['another issuer', put(firstIssuer, flip(40)), { file: firstIssuer, found: /^SHA-256 / }],
    ['a missing checkpoint', without(checkpointPath), { file: checkpointPath, found: 'it is missing' }],
    ['an empty checkpoint', put(checkpointPath, () => Buffer.of()), { file: checkpointPath }],
  ])('%s', async (_name, change, expected) => {
    const findings = await damaged(change);
    expect(findings.map(({ file }) => file)).toContain(expected.file);
    const finding = findings.find(({ file }) => file === expected.file);
    for (const [field, wanted] of Object.entries(expected)) {
      expect(finding?.[field as keyof Finding]).toMatch(wanted);
    }
  });

  test('an entry with a wrong leaf index', async () => {
    const { findings } = await check(readerOf(files(300, { indexOf: (i) => (i === 260 ? 7 : i) })));
    expect(findings).toEqual([
      { file: 'tile/data/001 (entry 260)', expected: 'leaf index 260', found: 'leaf index 7' },
    ]);
  });

  test('an entry that is newer than the tree head', async () => {
    const { findings } = await check(readerOf(files(3, { timeOf: (i) => headTime + (i === 2 ? 5 : 0) })));
    expect(findings).toMatchObject([{ file: 'tile/data/000 (entry 2)', found: `timestamp ${headTime + 5}` }]);
  });

  test('a signed root hash that the entries do not give', async () => {
    const { findings } = await check(readerOf(files(300, { root: randomBytes(32) })));
    expect(findings).toMatchObject([
      { file: checkpointPath, expected: expect.stringMatching(/^root hash [0-9a-f]{64}, which its 300/) },
    ]);
  });

  test.each([
    ['another key', { logKey: createPublicKey(newLogKey()), origin }, /holds no signature line of this log's key/],
    ['another origin', { logKey: publicKey, origin: 'other.example/ctlog' }, /its origin is "ca.example.com\/ctlog"/],
  ])('a checkpoint of %s', async (_name, trust, found) => {
    const findings: Finding[] = [];
    const summary = await fsckLog(readerOf(files(3)), { ...trust, report: (finding) => void findings.push(finding) });
    expect(summary).toBeUndefined();
    expect(findings).toMatchObject([{ file: checkpointPath, found: expect.stringMatching(found) }]);
  });

  test('a tree head from the future', async () => {
    const { findings } = await check(readerOf(files(3)), { now: headTime - 600_000 });
    expect(findings).toMatchObject([
      { file: checkpointPath, found: expect.stringMatching(/^the tree head is of 2023/) },
    ]);
  });

  test.each([
    ['of another entry', () => newPrecertificate().precertificate, 'another TBSCertificate'],
    ['of another CA', () => newPrecertificate(party('test issuing CA')).precertificate, 'another TBSCertificate'],
    ['that is none', () => newCertificate(), 'a certificate without poison'],
    ['that is no certificate', () => randomBytes(300), /./],
  ])('a precertificate %s', async (_name, other, found) => {
    const precertificates = [{ ...newPrecertificate(), precertificate: other() }];
    const { findings } = await check(readerOf(files(1, { precertificates })), { precertificates: true });
    expect(findings).toMatchObject([{ file: 'tile/data/000 (entry 0)', found: expect.stringMatching(found) }]);
  });

  test('a file that cannot be read', async () => {
    const log = readerOf(files(300));
    const fetch = (path: string) => (path === 'tile/0/000' ? Promise.reject(new Error('EIO')) : log.fetch(path));
    const { findings } = await check({ name: 'memory', fetch });
    expect(findings).toMatchObject([{ file: 'tile/0/000', found: 'it cannot be read: EIO' }]);
  });
});

test('no byte of a log can change unnoticed', async () => {
  const precertificates = Array.from({ length: 4 }, () => newPrecertificate());
  const original = files(260, { precertificates });
  expect((await check(readerOf(original), { precertificates: true })).findings).toEqual([]);
  const paths = [...original.keys()];
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, where, mask) => {
      const path = paths[which % paths.length] ?? '';
      const bytes = Buffer.from(original.get(path) ?? Buffer.of());
      const at = where % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ mask;
      const { findings } = await check(readerOf(new Map([...original, [path, bytes]])), { precertificates: true });
      expect(findings).not.toEqual([]);
    }),
    { numRuns: 60 },
  );
});

describe('over HTTP', () => {
  const reader = (answers: (Response | Error)[], pauses: number[] = []) =>
    openHttpReader({
      url: 'https://log.example/ctlog/',
      fetch: async (url) => {
        expect(String(url)).toBe('https://log.example/ctlog/tile/0/000');
        const answer = answers.shift() ?? new Error('asked too often');
        if (answer instanceof Error) throw answer;
        return answer;
      },
      wait: async (ms) => void pauses.push(ms),
    });
  const unreachable = () => new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') });

  test('a file is its bytes, and 404 says that there is none', async () => {
    const found = await reader([new Response(Buffer.of(1, 2))]).fetch('tile/0/000');
    expect([...(found ?? [])]).toEqual([1, 2]);
    expect(await reader([new Response('', { status: 404 })]).fetch('tile/0/000')).toBeUndefined();
  });

  test('a server that is busy for a moment is asked again', async () => {
    const pauses: number[] = [];
    const answers = [new Response('', { status: 503 }), unreachable(), new Response('ok')];
    expect(Buffer.from((await reader(answers, pauses).fetch('tile/0/000')) ?? []).toString()).toBe('ok');
    expect(pauses).toEqual([500, 1000]);
  });

  test.each([
    ['a server that is not there', [unreachable(), unreachable(), unreachable()], 'connect ECONNREFUSED'],
    ['a status that no repetition changes', [new Response('', { status: 403 })], 'HTTP status 403'],
  ])('%s is an error', async (_name, answers, message) => {
    await expect(reader([...answers]).fetch('tile/0/000')).rejects.toThrow(message);
  });
});
