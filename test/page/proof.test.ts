import { webcrypto } from 'node:crypto';
import fc from 'fast-check';
import { jane, openPageLab, type PageLab, workflow } from './lab.js';

interface Claim {
  pem: string;
  index: number;
  leafInput: string;
  auditPath: string[];
  checkpoint: string;
  origin: string;
  logId: string;
  publicKey: string;
}

interface Step {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

// The browser's own module, which is JavaScript.
const path: string = '../../src/page/assets/proof.js';
const { checkEntry } = (await import(path)) as { checkEntry(claim: Claim, subtle: unknown): Promise<Step[]> };

let lab: PageLab;
const claims: Claim[] = [];
beforeAll(async () => {
  lab = await openPageLab(Array.from({ length: 7 }, (_, i) => (i % 2 === 0 ? jane : workflow)));
  for (let index = 0; index < 7; index += 1) claims.push(await claimOf(index));
});
afterAll(() => lab.close());

async function claimOf(index: number): Promise<Claim> {
  const answer = (await (await fetch(`${lab.url}page/api/logs/ctlog/entries/${index}`)).json()) as {
    entry: { pem: string };
    log: { origin: string; logId: string; publicKey: string };
    leafInput: string;
    auditPath: string[];
    checkpoint: string;
  };
  const { entry, log, leafInput, auditPath, checkpoint } = answer;
  return { pem: entry.pem, index, leafInput, auditPath, checkpoint, ...log };
}

const first = (): Claim => claims[0] as Claim;
const check = (claim: Claim): Promise<Step[]> => checkEntry(claim, webcrypto.subtle);
const isGood = (steps: Step[]): boolean => steps.length === 4 && steps.every(({ ok }) => ok);
const flip = (base64: string, at: number): string => {
  const bytes = Buffer.from(base64, 'base64');
  bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ 1;
  return bytes.toString('base64');
};

test('every entry of the log is proven', async () => {
  for (const claim of claims)
    expect((await check(claim)).map(({ ok, detail }) => [ok, ok ? '' : detail])).toEqual(Array(4).fill([true, '']));
});

test.each<[string, string, () => Claim]>([
  ['the certificate of another entry', 'another certificate', () => ({ ...first(), pem: claims[1]?.pem ?? '' })],
  ['no certificate', 'malformed|no extensions', () => ({ ...first(), pem: 'aaaa' })],
  ['text in place of base64', 'base64', () => ({ ...first(), leafInput: '%' })],
  ['another place in the log', 'the checkpoint has', () => ({ ...first(), index: 1 })],
  ['a place behind the end of the log', 'not among the 7', () => ({ ...first(), index: 7 })],
  ['a negative place', 'not among the 7', () => ({ ...first(), index: -1 })],
  ['no audit path', 'too short', () => ({ ...first(), auditPath: [] })],
  [
    'an audit path that is too long',
    'too long',
    () => ({ ...first(), auditPath: [...first().auditPath, ...first().auditPath] }),
  ],
  [
    'an audit path with a short hash',
    'bytes instead of 32',
    () => ({ ...first(), auditPath: ['AAAA', ...first().auditPath.slice(1)] }),
  ],
  ['a log ID that is not of the key', "the key's SHA-256", () => ({ ...first(), logId: '00'.repeat(32) })],
  ['the checkpoint of another log', 'it is of the log', () => ({ ...first(), origin: 'evil.example/ctlog' })],
  [
    'a checkpoint with another size',
    'does not verify',
    () => ({ ...first(), checkpoint: first().checkpoint.replace('\n7\n', '\n8\n') }),
  ],
  [
    'a checkpoint without signature',
    'no checkpoint',
    () => ({ ...first(), checkpoint: first().checkpoint.replace(/— .*\n/, '') }),
  ],
  [
    'a checkpoint signed by a stranger',
    'no signature by the key',
    () => ({ ...first(), checkpoint: first().checkpoint.replace(/(— \S+ )[\w+/]{4}/, '$1AAAA') }),
  ],
  ['an empty checkpoint', 'no checkpoint', () => ({ ...first(), checkpoint: '' })],
])('%s is refused', async (_, reason, claim) => {
  const steps = await check(claim());
  expect(isGood(steps)).toBe(false);
  expect(steps.at(-1)).toMatchObject({ ok: false, detail: expect.stringMatching(reason) });
});

test('a changed byte anywhere is refused', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat({ max: 6 }),
      fc.constantFrom('leafInput' as const, 'auditPath' as const, 'publicKey' as const, 'pem' as const),
      fc.nat({ max: 2000 }),
      async (index, part, at) => {
        const claim = claims[index] as Claim;
        const changed = {
          leafInput: () => ({ leafInput: flip(claim.leafInput, at) }),
          publicKey: () => ({ publicKey: flip(claim.publicKey, at) }),
          auditPath: () => ({
            auditPath: claim.auditPath.map((hash, i) => (i === at % claim.auditPath.length ? flip(hash, at) : hash)),
          }),
          pem: () => ({ pem: flipTbs(claim.pem, at) }),
        }[part]();
        expect(isGood(await check({ ...claim, ...changed }))).toBe(false);
      },
    ),
    { numRuns: 200 },
  );
});

/** The signature is not in the log, so a change there is none of the entry's. */
function flipTbs(pem: string, at: number): string {
  const base64 = pem.replace(/-----[^-]+-----|\s/g, '');
  const length = Buffer.from(base64, 'base64').readUInt16BE(6);
  return flip(base64, at % (8 + length));
}

test('hostile answers never hang it and never pass', async () => {
  const texts = fc.oneof(fc.string({ maxLength: 200 }), fc.base64String({ maxLength: 400 }));
  await fc.assert(
    fc.asyncProperty(
      texts,
      texts,
      fc.array(texts, { maxLength: 5 }),
      texts,
      async (pem, leafInput, auditPath, checkpoint) => {
        expect(isGood(await check({ ...first(), pem, leafInput, auditPath, checkpoint }))).toBe(false);
      },
    ),
    { numRuns: 200 },
  );
});
