import { appendFileSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HeadFile, readHead } from '../../src/audit/head-file.js';
import type { AuditLine } from '../../src/audit/record.js';
import { auditShowCommand } from '../../src/cli/audit-show.js';
import { createLab, intent, issued, type Lab, writeTrail } from './lab.js';

let lab: Lab;
beforeEach(() => {
  lab = createLab();
});
afterEach(() => lab.remove());

/** As a shell expands `audit.jsonl*`. */
const all = (): string[] => readdirSync(lab.dir).map((name) => join(lab.dir, name));
const problems = (): string[] => lab.verify(...all()).problems.map(({ problem }) => problem);

test('verify takes all that lies beside a trail, its lock and its head included', async () => {
  await writeTrail(lab, 20, { limits: { maxBytes: 2000 } });
  expect(all().filter((path) => /\.(lock|head)$/.test(path))).toHaveLength(2);
  expect(problems()).toEqual([]);
});

test('show takes it too', async () => {
  await writeTrail(lab, 1);
  const said: string[] = [];
  const io = { out: (text: string) => void said.push(text), err: (text: string) => void said.push(text) };
  expect(auditShowCommand(all(), {}, io)).toBe(0);
  expect(said).toHaveLength(4);
});

test('the head beside a trail is the one that verify prints, also in the next trail, which is shorter', async () => {
  const head = () => readHead(`${lab.path}.head`);
  for (const certificates of [60, 1]) {
    await writeTrail(lab, certificates);
    expect(head()).toEqual({ ...lab.verify().trails[0]?.head, trail: 'a trail' });
    rmSync(lab.path);
  }
  const heads = new HeadFile(`${lab.path}.head`);
  heads.note({ seq: 1, hash: '0'.repeat(64), trail: 'b' });
  await heads.close();
  expect(readFileSync(`${lab.path}.head`, 'utf8')).toBe(`1:${'0'.repeat(64)} b\n`);
});

describe('with the head beside the trail', () => {
  test.each([1, 2, 5])('%i lines that were cut off at the end are found', async (count) => {
    await writeTrail(lab, 4);
    lab.write(lab.lines().slice(0, -count));
    expect(problems()).toEqual([expect.stringMatching(/^line 10, noted in .*\.head, is missing: found lines 1 to/)]);
  });

  test('a last line that was changed is found, and where', async () => {
    await writeTrail(lab, 4);
    const lines = lab.lines();
    lab.write([...lines.slice(0, -1), String(lines.at(-1)).replace('stopped', 'STOPPED')]);
    expect(lab.verify().problems).toEqual([
      { file: lab.path, line: 10, problem: expect.stringMatching(/^its SHA-256 is .*; expected .*, which was noted/) },
    ]);
  });

  test('a newest file that was removed is found', async () => {
    await writeTrail(lab, 20, { limits: { maxBytes: 2000 } });
    rmSync(lab.path);
    expect(problems()).toEqual([expect.stringMatching(/is missing: found lines 1 to \d+ of the trail/)]);
  });

  test('a trail that was removed is found, and the file that says so is named', async () => {
    await writeTrail(lab, 4);
    rmSync(lab.path);
    expect(lab.verify(...all()).problems).toEqual([
      {
        file: `${lab.path}.head`,
        line: undefined,
        problem: expect.stringMatching(/is missing: found no line of the trail/),
      },
    ]);
  });

  test('a broken chain is one problem, not two', async () => {
    await writeTrail(lab, 4);
    lab.write(lab.lines().toSpliced(3, 1));
    expect(problems()).toEqual([expect.stringMatching(/line 4 is missing before it/)]);
  });

  test('a head of before a rotation asks nothing of the new file alone', async () => {
    await writeTrail(lab, 4);
    const head = readFileSync(`${lab.path}.head`);
    renameSync(lab.path, `${lab.path}.1`);
    await writeTrail(lab, 1);
    writeFileSync(`${lab.path}.head`, head);
    expect(lab.verify().problems).toEqual([]);
    expect(problems()).toEqual([]);
  });

  test('a head that is none is said, and does not keep a server from starting', async () => {
    await writeTrail(lab, 1);
    writeFileSync(`${lab.path}.head`, 'x');
    expect(problems()).toEqual([expect.stringMatching(/not the head of a trail/)]);
    await writeTrail(lab, 1);
    expect(problems()).toEqual([]);
  });
});

describe('a server that starts behind a cut', () => {
  test.each<[string, () => void]>([
    ['lines were removed', () => lab.write(lab.lines().slice(0, -2))],
    ['the last line was changed', () => lab.write([...lab.lines().slice(0, -1), '{}'])],
    [
      'the last line was cut off in its middle, as a crash never does to a durable one',
      () => writeFileSync(lab.path, readFileSync(lab.path).subarray(0, -9)),
    ],
  ])('writes down for good that %s', async (_, damage) => {
    await writeTrail(lab, 4);
    damage();
    const opened = await lab.open();
    expect(opened.tellings.join()).toMatch(/line 10 of the audit trail was written, and the trail now ends at line/);
    await opened.trail.append(intent(7));
    await opened.trail.append(issued(7));
    await opened.close();
    await writeTrail(lab, 1);
    expect(problems()).toContainEqual(expect.stringMatching(/^line 10 of the trail, .*, was gone or changed when/));
  });

  test('says where the whole trail is gone, or another one is in its place', async () => {
    await writeTrail(lab, 4);
    const [first = ''] = lab.lines();
    writeFileSync(lab.path, '');
    const begun = await lab.open();
    expect(begun.tellings).toEqual([
      'line 10 of the audit trail a trail was written here, and that trail is not here now; a new trail begins',
    ]);
    await begun.close();
    expect(problems()).toEqual([]);
    lab.write([first.replace('a trail', 'b')]);
    const other = await lab.open();
    expect(other.tellings).toEqual([expect.stringMatching(/trail is not here now; another one goes on$/)]);
    await other.close();
  });

  test('says nothing where a crash cut off a line, or a kill came before the head was noted', async () => {
    await writeTrail(lab, 1);
    const head = readFileSync(`${lab.path}.head`);
    await writeTrail(lab, 1);
    writeFileSync(`${lab.path}.head`, head);
    appendFileSync(lab.path, '{"prev":"01');
    const opened = await lab.open();
    expect(opened.tellings).toEqual([expect.stringMatching(/11 bytes behind line/)]);
    await opened.close();
    const lines = lab.lines().map((line) => JSON.parse(line) as AuditLine);
    expect(lines.filter(({ missing }) => missing !== undefined)).toEqual([]);
    expect(problems()).toEqual([]);
  });
});
