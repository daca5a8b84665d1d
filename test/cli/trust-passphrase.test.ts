import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { passphraseFrom } from '../../src/cli/trust-passphrase.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'mayfly-passphrase-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** A person who answers with these words in turn. */
function person(...answers: string[]) {
  const asked: string[] = [];
  const ask = async (question: string): Promise<string> => {
    asked.push(question);
    return answers.shift() ?? '';
  };
  return { ask, asked };
}

test('a passphrase file wins over the environment, and its first line counts', async () => {
  const file = join(dir, 'secret');
  await writeFile(file, 'from the file\r\nsecond line\n');
  const env = { MAYFLY_TUF_PASSPHRASE: 'from the environment' };
  expect(await passphraseFrom({ file, env })('root.pem', false)).toBe('from the file');
  expect(await passphraseFrom({ env })('root.pem', false)).toBe('from the environment');
});

test('a person is asked once for a key that exists, and twice for new ones', async () => {
  const { ask, asked } = person('old', 'new', 'new');
  const passphrase = passphraseFrom({ env: {}, ask });
  expect(await passphrase('root.1.pem', false)).toBe('old');
  expect(await passphrase('root.1.pem', false)).toBe('old');
  expect(await passphrase('root.*.pem', true)).toBe('new');
  expect(asked).toEqual(['Passphrase for root.1.pem: ', 'Passphrase for root.*.pem: ', 'The same again: ']);
});

test.each([
  ['two that differ', { ask: person('one', 'another').ask }, 'the two passphrases differ; nothing was written'],
  ['an empty answer', { ask: person('').ask }, 'the passphrase is empty'],
  ['an empty variable', { env: { MAYFLY_TUF_PASSPHRASE: '' } }, 'MAYFLY_TUF_PASSPHRASE is empty'],
  ['nobody to ask', {}, 'needs a passphrase, and there is no terminal to ask'],
  ['a file that is missing', { file: '/nowhere/secret' }, '--passphrase-file: cannot read /nowhere/secret'],
])('refuses %s', async (_what, source, message) => {
  await expect(passphraseFrom({ env: {}, ...source })('root.*.pem', true)).rejects.toThrow(message);
});
