import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { encodeLine, noHead, parseLine } from '../../src/audit/line.js';
import { createLab, type Lab, writeTrail } from './lab.js';

let lab: Lab;
beforeEach(() => {
  lab = createLab();
});
afterEach(() => lab.remove());

test('each line begins with the SHA-256 of the line before it, and the first with zeros', async () => {
  await writeTrail(lab, 3);
  const lines = lab.lines();
  let prev = '0'.repeat(64);
  lines.forEach((line, i) => {
    expect(line.startsWith(`{"prev":"${prev}","seq":${i + 1},"time":"`)).toBe(true);
    prev = createHash('sha256').update(line).digest('hex');
  });
  const { trails, problems } = lab.verify();
  expect(problems).toEqual([]);
  expect(trails[0]).toMatchObject({ first: 1, head: { seq: lines.length, hash: prev }, open: 0, stopped: true });
});

describe('a trail that was touched', () => {
  const damages: readonly [string, (lines: string[]) => string[], RegExp][] = [
    [
      'a changed value',
      (l) => l.with(3, (l[3] ?? '').replace('request-1', 'request-9')),
      /:5: the line before it, line 4/,
    ],
    [
      'a changed time',
      (l) => l.with(2, (l[2] ?? '').replace(/"time":"\d/, '"time":"1')),
      /:4: the line before it, line 3/,
    ],
    ['a removed line', (l) => l.toSpliced(2, 1), /:3: it is line 4 .* line 3 is missing/],
    ['several removed lines', (l) => l.toSpliced(2, 3), /:3: it is line 6 .* lines 3 to 5 are missing/],
    ['a removed beginning', (l) => l.slice(1), /:1: its event is "intent"; a file begins with "opened"/],
    [
      'two lines that changed places',
      (l) => l.with(2, l[3] ?? '').with(3, l[2] ?? ''),
      /:3: it is line 4 .* line 3 is missing/,
    ],
    ['a copied line', (l) => l.toSpliced(3, 0, l[2] ?? ''), /:4: it is line 3 .* a copy, or moved/],
    ['an empty line', (l) => l.toSpliced(3, 0, ''), /:4: it is empty/],
    ['a line of another kind', (l) => l.toSpliced(3, 0, '{"note":"x"}'), /:4: its member "prev" is wrong/],
    ['a blank in a line', (l) => l.with(3, (l[3] ?? '').replace(',"seq"', ', "seq"')), /:4: it is not spelled/],
    [
      'a member twice',
      (l) => l.with(3, (l[3] ?? '').replace('}', ',"event":"denied"}')),
      /:4: it has the key "event" twice/,
    ],
    ['a line that was made to fit', (l) => l.with(3, forged(l, 3)), /:5: the line before it, line 4 .* was changed/],
  ];
  test.each(damages)('%s is found, with its line', async (_, damage, expected) => {
    await writeTrail(lab, 3);
    lab.write(damage(lab.lines()));
    const { problems } = lab.verify();
    expect(problems).toHaveLength(1);
    expect(`${problems[0]?.file}:${problems[0]?.line}: ${problems[0]?.problem}`).toMatch(expected);
  });

  test('a cut in the last line is found', async () => {
    await writeTrail(lab, 2);
    truncateSync(lab.path, readFileSync(lab.path).length - 5);
    expect(lab.verify().problems).toEqual([
      {
        file: lab.path,
        line: 6,
        problem: expect.stringMatching(/^\d+ bytes without a line feed: a line that was cut off/),
      },
    ]);
  });

  test('any changed byte is found, unless it is in the last line, which a head noted earlier covers', async () => {
    await writeTrail(lab, 4);
    const bytes = readFileSync(lab.path);
    const head = lab.verify().trails[0]?.head ?? noHead;
    const { verifyTrails } = await import('../../src/audit/verify.js');
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ change;
        writeFileSync(lab.path, changed);
        let problems = 0;
        verifyTrails([lab.path], { expected: [head], report: () => problems++ });
        expect(problems).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    );
  });

  test('any removal of lines but the last ones is found', async () => {
    await writeTrail(lab, 4);
    const lines = lab.lines();
    fc.assert(
      fc.property(fc.nat(lines.length - 2), fc.integer({ min: 1, max: 3 }), (at, count) => {
        const left = lines.toSpliced(at, Math.min(count, lines.length - 1 - at));
        lab.write(left);
        expect(lab.verify().problems.length).toBe(1);
      }),
      { numRuns: 60 },
    );
  });
});

/** A line with another content and its neighbour's right hash: only the one after it gives it away. */
function forged(lines: readonly string[], at: number): string {
  const { prev, seq } = parseLine(Buffer.from(lines[at] ?? ''));
  return encodeLine({ seq: seq - 1, hash: prev }, 0, { event: 'denied', code: 'POLICY_DENIED' }).text.trimEnd();
}

test('parseLine throws nothing but SyntaxError, whatever it is given', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        try {
          parseLine(Buffer.from(bytes));
        } catch (error) {
          expect((error as Error).name).toBe('SyntaxError');
        }
      },
    ),
  );
});

test('what a line says is read back as it was, whatever a token brought in', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (subject) => {
      const { text } = encodeLine(noHead, 0, { event: 'failed', subject });
      expect(text.indexOf('\n')).toBe(text.length - 1);
      expect(parseLine(Buffer.from(text.trimEnd())).subject).toBe(subject);
    }),
  );
});
