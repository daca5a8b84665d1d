import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { renewTufRoot, rotateTufKey, updateTuf } from '../../src/trust/tuf-ceremony.js';
import { tufRoles } from '../../src/trust/tuf-keys.js';
import { publishTuf } from '../../src/trust/tuf-publish.js';
import { readTufRepository } from '../../src/trust/tuf-repository.js';
import { readTufTargets } from '../../src/trust/tuf-targets.js';
import { changeTrust, damage, later, start, type TufLab, tufLab } from './tuf-lab.js';

let lab: TufLab;
beforeEach(async () => {
  lab = await tufLab();
});
afterEach(() => lab.close());

const repository = () => readTufRepository(lab.dir);
const targets = (at = start) => readTufTargets(lab.trustDir, at);
const json = async (name: string) => JSON.parse(await readFile(join(lab.dir, name), 'utf8'));

describe('rotate-key', () => {
  test('an old root leads to the new one, whatever role gets a key', async () => {
    for (const role of tufRoles) await rotateTufKey({ ...lab, role });
    const { root, nextRoot } = await repository();
    expect(root.signed.version).toBe(5);
    expect(nextRoot).toBeUndefined();
    expect(await json('root.json')).toEqual(await json('5.root.json'));
  });

  test('what is signed while the new root waits is signed for both', async () => {
    const { root: old } = await repository();
    await rotateTufKey({ ...lab, role: 'targets' });
    const { root, targets: signed } = await repository();
    expect(() => old.verifyDelegate('targets', signed)).not.toThrow();
    expect(() => root.verifyDelegate('targets', signed)).not.toThrow();
  });

  test('a lost online key is replaced all the same', async () => {
    const [timestamp = ''] = (await readdir(lab.keysDir)).filter((name) => name.startsWith('timestamp'));
    await rm(join(lab.keysDir, timestamp));
    const { published } = await rotateTufKey({ ...lab, role: 'timestamp' });
    expect(published).toEqual(['root 2', 'timestamp 2']);
    expect(await publishTuf(lab)).toEqual([]);
  });

  test('two of three root keys, in two places, replace the third', async () => {
    await lab.close();
    lab = await tufLab({ root: { keys: 3, threshold: 2 } });
    const [first = ''] = lab.offlineDirs;
    const second = join(lab.home, 'second');
    await mkdir(second, { mode: 0o700 });
    const [a = '', b = '', lost = ''] = (await readdir(first)).filter((name) => name.startsWith('root'));
    await rename(join(first, b), join(second, b));
    await rm(join(first, lost));
    await expect(rotateTufKey({ ...lab, role: 'root', replace: idOf(lost) })).rejects.toThrow(
      'needs 2 of 3 keys, and 1',
    );
    const offlineDirs = [first, second];
    const result = await rotateTufKey({ ...lab, offlineDirs, role: 'root', replace: idOf(lost) });
    expect(result.dropped).toEqual([expect.stringContaining(idOf(lost))]);
    const { root } = await repository();
    expect(root.signed.roles.root?.threshold).toBe(2);
    expect(root.signed.roles.root?.keyIDs.map((id) => id.slice(0, 16))).toEqual(
      expect.arrayContaining([idOf(a), idOf(b)]),
    );
  });

  const idOf = (file: string): string => file.split('.')[1] ?? '';

  test('gives a role more keys and a threshold', async () => {
    await rotateTufKey({ ...lab, role: 'targets', count: { keys: 3, threshold: 2 } });
    const { root } = await repository();
    expect(root.signed.roles.targets).toMatchObject({ threshold: 2, keyIDs: { length: 3 } });
  });

  test('a root that is not published yet is not overtaken', async () => {
    await rename(lab.keysDir, `${lab.keysDir}-elsewhere`);
    expect((await renewTufRoot(lab)).waits).toBe(true);
    await expect(rotateTufKey({ ...lab, role: 'root' })).rejects.toThrow('has a root that is not published yet');
    await rename(`${lab.keysDir}-elsewhere`, lab.keysDir);
    expect(await publishTuf(lab)).toEqual(['root 2']);
  });

  test.each([
    ['kept', ['snapshot 2', 'timestamp 2', 'root 2']],
    ['destroyed', ['root 2', 'snapshot 2', 'timestamp 2']],
  ])('targets signed again while new targets keys wait are for both roots: old key %s', async (old, published) => {
    const [offlineDir = ''] = lab.offlineDirs;
    const [former = ''] = (await readdir(offlineDir)).filter((name) => name.startsWith('targets'));
    await rename(lab.keysDir, `${lab.keysDir}-elsewhere`);
    await rotateTufKey({ ...lab, role: 'targets' });
    if (old === 'destroyed') await rm(join(offlineDir, former));
    await changeTrust(lab);
    expect((await updateTuf({ ...lab, targets: await targets() })).signed).toEqual(['targets 3']);
    await rename(`${lab.keysDir}-elsewhere`, lab.keysDir);
    expect(await publishTuf(lab)).toEqual(published);
    const { root, targets: signed } = await repository();
    expect(signed.signed.version).toBe(3);
    expect(() => root.verifyDelegate('targets', signed)).not.toThrow();
  });

  test('a root whose targets keys signed nothing is not published', async () => {
    await rename(lab.keysDir, `${lab.keysDir}-elsewhere`);
    await rotateTufKey({ ...lab, role: 'targets' });
    await rename(`${lab.keysDir}-elsewhere`, lab.keysDir);
    const oldTargets = await readFile(join(lab.dir, '1.targets.json'), 'utf8');
    await damage(lab, '2.targets.json', oldTargets);
    await expect(publishTuf(lab)).rejects.toThrow(
      /cannot be published: 1\.targets\.json is not signed by.*update --force$/,
    );
    expect((await repository()).root.signed.version).toBe(1);
    await expect(publishTuf({ ...lab, now: later(5) })).rejects.toThrow(/cannot be published/);
    expect((await repository()).timestamp?.signed.version).toBe(2);
    expect((await updateTuf({ ...lab, targets: await targets(), force: true })).waits).toBe(false);
    expect((await repository()).root.signed.version).toBe(2);
  });
});
