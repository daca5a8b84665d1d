import { createPublicKey } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import type { PrecertSubmission, Sct } from '../../src/ct/log.js';
import { verifySct } from '../../src/ct/sct.js';
import { checkLog } from '../../src/ctlog/check.js';
import { verifyInclusion } from '../../src/ctlog/merkle.js';
import { chain, issuerKeyHash, newPrecertificate } from './certificates.js';
import { newLogKey, openLog, origin, submission, temporaryDirectory } from './fixtures.js';

const key = newLogKey();
const publicKey = createPublicKey(key);
let directory: ReturnType<typeof temporaryDirectory>;

beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => directory.dispose());

const check = () => checkLog(join(directory.path, 'log'), publicKey, origin);
const many = (count: number) => Array.from({ length: count }, () => submission());
const indexOf = (sct: Sct) => decodeLeafIndex(sct.extensions);

test('an SCT verifies, and its entry is in the published tree at its leaf index', async () => {
  const log = await openLog(directory.path, key);
  const one = submission();
  const sct = await log.submit(one);
  expect(verifySct(sct, one, publicKey)).toBe(true);
  const checked = await check();
  expect(checked.size).toBe(1);
  expect(indexOf(sct)).toBe(0);
  expect(checked.leaves[0]).toMatchObject({ entry: { timestamp: sct.timestamp, entry: { tbs: one.tbs } } });
  await log.close();
});

test('concurrent submissions share commits and each keeps its own index', async () => {
  const log = await openLog(directory.path, key);
  const submissions = many(700);
  const scts = await Promise.all(submissions.map((one) => log.submit(one)));
  expect(new Set(scts.map(indexOf)).size).toBe(700);
  expect(new Set(scts.map((sct) => sct.timestamp)).size).toBeLessThan(10);
  const checked = await check();
  submissions.forEach((one, i) => {
    const sct = scts[i] as Sct;
    expect(verifySct(sct, one, publicKey)).toBe(true);
    expect(checked.leaves[indexOf(sct) ?? -1]).toMatchObject({ entry: { entry: { tbs: one.tbs } } });
  });
  await log.close();
});
