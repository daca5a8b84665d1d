import { createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { coverageEnd, covers, type TemporalInterval } from '../../src/ct/temporal-interval.js';
import { tellCoverage } from '../../src/server/log-coverage.js';
import { logRecordFile, openLogRecord, withFormerLogs } from '../../src/server/log-record.js';
import { newLogKey } from '../attacks/fake-log.js';

/** What is remembered of logs, and how long the logs of a list last. */

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mayfly-log-record-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const day = 86_400_000;
const start = Date.parse('2026-01-01T00:00:00Z');
const newLog = (name: string) => ({ url: `https://${name}.example/`, publicKey: createPublicKey(newLogKey()) });
const [a, b, c] = [newLog('a'), newLog('b'), newLog('c')];
const at = (days: number) => openLogRecord(dir, () => start + days * day);
const names = (logs: readonly { url: string; end?: Date }[]): string[] =>
  logs.map(
    ({ url, end }) => `${url.slice(8, 9)}${end === undefined ? '' : ` until ${end.toISOString().slice(0, 16)}`}`,
  );

test('a log that is left keeps its place, with an end a little after its last use', async () => {
  await (await at(0)).update([a]);
  const record = await at(10);
  await record.update([b]);
  expect(names(record.list())).toEqual(['b', 'a until 2026-01-11T00:05']);
  const later = await at(20);
  await later.update([c]);
  expect(names(later.list())).toEqual(['c', 'b until 2026-01-21T00:05', 'a until 2026-01-11T00:05']);
});

test('a log that comes back has no end any more, and its end does not move while it is away', async () => {
  await (await at(0)).update([a]);
  await (await at(1)).update([b]);
  await (await at(2)).update([b]);
  expect(names((await at(3)).list())).toContain('a until 2026-01-02T00:05');
  const back = await at(4);
  await back.update([b, a]);
  expect(names(back.list())).toEqual(['b', 'a']);
});

test('with CT turned off the logs of earlier certificates are still known', async () => {
  await (await at(0)).update([a]);
  const off = await at(1);
  await off.update([]);
  expect(names(off.list())).toEqual(['a until 2026-01-02T00:05']);
});

test('a frozen log of ours keeps its exact start and end, also when the embedded log is no more in use', async () => {
  const frozen = { ...b, start: new Date(start - day), end: new Date(start) };
  await (await at(0)).update([a, frozen]);
  const record = await at(5);
  await record.update([c]);
  expect(record.list().at(-1)).toMatchObject({ url: b.url, start: frozen.start, end: frozen.end });
});

test('a log that moved is known by its key', async () => {
  await (await at(0)).update([a]);
  const record = await at(1);
  await record.update([{ ...a, url: 'https://n.example/' }]);
  expect(names(record.list())).toEqual(['n']);
});

test('a command beside the server gets the same list, and writes nothing', async () => {
  await (await at(0)).update([a]);
  const before = readFileSync(logRecordFile(dir), 'utf8');
  expect(names(await withFormerLogs(dir, [b], () => start + day))).toEqual(['b', 'a until 2026-01-02T00:05']);
  expect(readFileSync(logRecordFile(dir), 'utf8')).toBe(before);
  expect(names(await withFormerLogs(join(dir, 'none'), [b], () => start))).toEqual(['b']);
});

test.each([
  ['', 'JSON'],
  ['{}', 'format'],
  ['{"format":2,"logs":[]}', 'format'],
  ['{"format":1,"logs":[{"url":"x","publicKey":"AAAA","firstUse":"2026-01-01T00:00:00Z"}]}', 'published-logs.json'],
  ['{"format":1,"logs":[{"url":"x"}]}', 'publicKey'],
])('a record that holds %j is refused, naming the file', async (text, message) => {
  writeFileSync(logRecordFile(dir), text);
  await expect(at(0)).rejects.toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(message) });
});

test('an interval has its start and not its end', () => {
  expect([9, 10, 19, 20].map((time) => covers({ start: 10, end: 20 }, time))).toEqual([false, true, true, false]);
  expect([covers(undefined, 0), covers({ end: 5 }, -1), covers({ start: 5 }, 99)]).toEqual([true, true, true]);
});

test.each<[string, (TemporalInterval | undefined)[], number, number | undefined]>([
  ['one log for ever', [undefined], 1, undefined],
  ['one shard', [{ start: 0, end: 20 }], 1, 20],
  [
    'two that follow each other',
    [
      { start: 0, end: 20 },
      { start: 20, end: 40 },
    ],
    1,
    40,
  ],
  [
    'two with a gap',
    [
      { start: 0, end: 20 },
      { start: 21, end: 40 },
    ],
    1,
    20,
  ],
  ['two of which two are needed', [{ end: 20 }, { end: 40 }], 2, 20],
  ['one that is over', [{ end: 5 }], 1, 10],
  ['one that is to come', [{ start: 15 }], 1, 10],
])('coverage from 10 on of %s', (_what, intervals, required, end) => {
  expect(coverageEnd(intervals, required, 10)).toBe(end);
});

test('up to its end coverage holds at every instant, and at its end it does not', () => {
  const time = fc.integer({ min: 0, max: 60 });
  const interval = fc.option(fc.record({ start: time, end: time }), { nil: undefined, freq: 9 });
  fc.assert(
    fc.property(
      fc.array(interval, { maxLength: 5 }),
      fc.integer({ min: 1, max: 3 }),
      time,
      (intervals, required, from) => {
        const enough = (t: number): boolean => intervals.filter((one) => covers(one, t)).length >= required;
        const end = coverageEnd(intervals, required, from);
        for (let t = from; t < (end ?? 70); t++) if (!enough(t)) return false;
        return end === undefined || !enough(end);
      },
    ),
  );
});

test.each<[string, TemporalInterval | undefined, string | undefined]>([
  ['for ever', undefined, undefined],
  ['for 31 days', { end: start + 31 * day }, undefined],
  ['for 29 days', { end: start + 29 * day }, 'warn: in 29 days no certificate can be issued any more'],
  ['no more', { end: start }, 'error: fewer than 1 of the 1 logs take certificates'],
])('the operator of logs that last %s is told so', (_what, interval, expected) => {
  const said: string[] = [];
  const logger = {
    warn: (_entry: unknown, text: string) => void said.push(`warn: ${text}`),
    error: (text: string) => void said.push(`error: ${text}`),
  };
  const member = { embed: true, ...(interval === undefined ? {} : { interval }) };
  tellCoverage([member as never], 1, start, logger as never);
  expect(said).toEqual(expected === undefined ? [] : [expect.stringContaining(expected)]);
});
