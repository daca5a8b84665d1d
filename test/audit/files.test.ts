import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { AuditLine } from '../../src/audit/record.js';
import { createLab, failed, intent, issued, type Lab, writeTrail } from './lab.js';

let lab: Lab;
beforeEach(() => {
  lab = createLab();
});
afterEach(() => lab.remove());

const files = (): string[] =>
  readdirSync(lab.dir)
    .filter((name) => !/\.(lock|head)$/.test(name))
    .map((name) => join(lab.dir, name));
const parsed = (file: string): AuditLine[] => lab.lines(file).map((line) => JSON.parse(line) as AuditLine);

test('a full file is set aside, and the next one names it and continues its chain', async () => {
  await writeTrail(lab, 20, { limits: { maxBytes: 2000 } });
  expect(files().length).toBeGreaterThan(3);
  const { problems, trails } = lab.verify(...files().reverse());
  expect(problems).toEqual([]);
  expect(trails).toMatchObject([{ first: 1, head: { seq: expect.any(Number) }, open: 0, stopped: true }]);
  const [first] = parsed(lab.path);
  expect(first).toMatchObject({ event: 'opened', reason: 'rotated', instance: 'https://ca.example.com', version: '1' });
  expect(existsSync(join(lab.dir, first?.previous?.file ?? ''))).toBe(true);
});

test('a file that is set aside hands over the intents that have no outcome', async () => {
  const { trail, close } = await lab.open({ limits: { maxBytes: 500 } });
  await trail.append(intent(1));
  await trail.append(intent(2));
  await trail.append(issued(1));
  await trail.append(failed(3));
  await close();
  expect(parsed(lab.path)[0]?.open?.map(({ requestId }) => requestId)).toEqual(['request-2']);
  const next = await lab.open();
  expect(next.trail.open().map(({ requestId }) => requestId)).toEqual(['request-2']);
  await next.close();
});

test('an old file is set aside too, but not one in which nothing has happened', async () => {
  let now = Date.parse('2026-01-02T03:04:05Z');
  const { trail, close } = await lab.open({ limits: { maxAgeMs: 1000 }, clock: () => now });
  await trail.append(failed(1));
  now += 1500;
  trail.look();
  await trail.append(failed(2));
  now += 500;
  await trail.append(failed(3));
  await close();
  expect(files().map((file) => file.slice(lab.dir.length + 1))).toEqual([
    'audit.jsonl',
    'audit.jsonl.20260102T030406Z-2',
  ]);
});

test('logrotate may rename the file: the trail follows, and continues its chain', async () => {
  const { trail, close } = await lab.open();
  await trail.append(failed(1));
  renameSync(lab.path, `${lab.path}.1`);
  await trail.append(failed(2));
  trail.look();
  await trail.append(failed(3));
  await close();
  expect(parsed(`${lab.path}.1`).map(({ event }) => event)).toEqual(['opened', 'failed', 'failed']);
  expect(parsed(lab.path).map(({ event }) => event)).toEqual(['opened', 'failed', 'stopped']);
  expect(lab.verify(...files()).problems).toEqual([]);
});

test.each(['audit.jsonl.1', 'audit.jsonl-20260102', 'audit.jsonl.20260102T030405Z-3'])(
  'a server that starts without its file continues the chain of %s',
  async (name) => {
    await writeTrail(lab, 2);
    renameSync(lab.path, join(lab.dir, name));
    await writeTrail(lab, 1);
    expect(parsed(lab.path)[0]?.previous).toEqual({ file: name });
    expect(lab.verify(...files())).toMatchObject({ problems: [], trails: [{ first: 1 }] });
  },
);

test('a removed file in between is found, with the lines that are missing', async () => {
  await writeTrail(lab, 20, { limits: { maxBytes: 2000 } });
  const all = files();
  const { trails, problems } = lab.verify(...all.filter((_, i) => i !== 2));
  expect(problems).toEqual([
    {
      file: expect.any(String),
      line: 1,
      problem: expect.stringMatching(/lines? \d+ .*missing.*a file that was not given/),
    },
  ]);
  expect(trails[0]?.head.seq).toBeGreaterThan(1);
});

test('files whose beginning was given away are checked from where they begin', async () => {
  await writeTrail(lab, 20, { limits: { maxBytes: 2000 } });
  const { trails, problems } = lab.verify(lab.path);
  expect(problems).toEqual([]);
  expect(trails[0]?.first).toBeGreaterThan(1);
});

test('a line that a crash cut off stays as it is, outside the chain, and the next file says so', async () => {
  await writeTrail(lab, 2);
  appendFileSync(lab.path, '{"prev":"0123');
  const next = await lab.open();
  expect(next.tellings).toEqual([expect.stringMatching(/13 bytes behind line 6/)]);
  await next.close();
  const [current, old] = files();
  expect(readFileSync(old ?? '', 'utf8')).toMatch(/\n\{"prev":"0123$/);
  expect(parsed(current ?? '')[0]).toMatchObject({ reason: 'start', previous: { torn: { bytes: 13 } } });
  expect(lab.verify(...files())).toMatchObject({ problems: [], trails: [{ torn: 1, first: 1 }] });
  // Without the file that names them, or with others in their place, the bytes are a finding.
  expect(lab.verify(old ?? '').problems).toHaveLength(1);
  truncateSync(old ?? '', readFileSync(old ?? '').length - 1);
  expect(lab.verify(...files()).problems).toHaveLength(1);
});

test('a line that was changed is no crash: the next server goes on, and the verifier reports it', async () => {
  await writeTrail(lab, 3);
  lab.write(lab.lines().with(2, (lab.lines()[2] ?? '').replace('request-0', 'request-9')));
  await writeTrail(lab, 1);
  const { problems } = lab.verify(...files());
  expect(problems).toEqual([
    { file: expect.any(String), line: 4, problem: expect.stringMatching(/was changed/) },
    { file: lab.path, line: 1, problem: expect.stringMatching(/^line 8 of the trail, .*, was gone or changed when/) },
  ]);
});

test('a first line that a crash cut off leaves the chain of the file before it', async () => {
  await writeTrail(lab, 2);
  renameSync(lab.path, `${lab.path}.1`);
  writeFileSync(lab.path, '{"prev":"0123');
  await writeTrail(lab, 1);
  expect(files()).toHaveLength(3);
  expect(lab.verify(...files())).toMatchObject({ problems: [], trails: [{ first: 1, torn: 1 }] });
});

test('a second process is refused, and the file of something else', async () => {
  const first = await lab.open();
  await expect(lab.open()).rejects.toMatchObject({
    code: 'STARTUP',
    detail: expect.stringMatching(/in use by another/),
  });
  await first.close();
  writeFileSync(lab.path, 'root:x:0:0:root:/root:/bin/bash\n');
  await expect(lab.open()).rejects.toMatchObject({ detail: expect.stringMatching(/holds something else/) });
  expect(readFileSync(lab.path, 'utf8')).toBe('root:x:0:0:root:/root:/bin/bash\n');
});
