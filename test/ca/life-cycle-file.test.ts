import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { openDataDirectory } from '../../src/ca/data-directory.js';
import { type Authorities, activeOf, findCa, noAuthorities, promoteCa } from '../../src/ca/life-cycle.js';
import { parseAuthorities, readAuthorities, updateAuthorities } from '../../src/ca/life-cycle-file.js';
import { addCommand } from '../../src/cli/ca-add.js';
import { deleteCommand } from '../../src/cli/ca-delete.js';
import { authoritiesIn } from '../../src/cli/ca-list.js';
import { promoteCommand } from '../../src/cli/ca-promote.js';
import { retireCommand } from '../../src/cli/ca-retire.js';
import { AppError } from '../../src/errors.js';

let dir: string;
let output: string[];
const io = {
  out: (text: string) => void output.push(text),
  err: (text: string) => void output.push(text),
  now: () => new Date(),
  env: {},
};
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mayfly-life-'));
  output = [];
});
afterEach(() => rmSync(dir, { recursive: true }));

/** The active CA's certificate, opened as a server would. */
async function openActive(): Promise<string> {
  const data = await openDataDirectory(dir, { clock: Date.now });
  const ca = await data.openCa();
  await ca.signer.close();
  return ca.chainPem[0] ?? '';
}

const names = (all: Authorities | undefined): string =>
  (all?.cas ?? []).map(({ name, state }) => `${name} ${state}`).join();

test('updates of several processes follow one another', async () => {
  await openActive();
  await Promise.all(['b', 'c', 'd', 'e'].map((name) => addCommand({ dataDir: dir, name }, io)));
  const { cas } = await authoritiesIn(dir);
  expect(cas.map(({ name, state }) => (state === 'active' ? state : name)).sort()).toEqual([
    'active',
    'b',
    'c',
    'd',
    'e',
  ]);
});

test('an update that fails changes nothing', async () => {
  await openActive();
  const before = readFileSync(join(dir, 'authorities.json'), 'utf8');
  await expect(
    updateAuthorities(dir, () => {
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  expect(readFileSync(join(dir, 'authorities.json'), 'utf8')).toBe(before);
  expect((await readAuthorities(dir))?.cas).toHaveLength(1);
});

describe('a command that was cut short', () => {
  test('while it wrote the record leaves the old one', async () => {
    const active = await openActive();
    writeFileSync(join(dir, 'authorities.json.new'), '{"version": 1, "ca');
    expect(await openActive()).toBe(active);
    await addCommand({ dataDir: dir, name: 'b' }, io);
    expect(readdirSync(dir)).not.toContain('authorities.json.new');
  });

  test('between key and record leaves a key that nobody uses, and runs again', async () => {
    const active = await openActive();
    for (const name of ['ca-b', 'ca-b.new']) {
      mkdirSync(join(dir, 'keys', name));
      writeFileSync(join(dir, 'keys', name, 'key.pem'), 'half');
    }
    expect(await openActive()).toBe(active);
    await addCommand({ dataDir: dir, name: 'b' }, io);
    await promoteCommand({ dataDir: dir, name: 'b' }, io);
    expect(await openActive()).not.toBe(active);
    expect(readdirSync(join(dir, 'keys')).sort()).toEqual(['ca', 'ca-b', 'ctlog']);
  });

  test('between the end of a key and its record runs again', async () => {
    await openActive();
    const first = activeOf(await authoritiesIn(dir))?.name ?? '';
    await addCommand({ dataDir: dir, name: 'b' }, io);
    await promoteCommand({ dataDir: dir, name: 'b' }, io);
    await retireCommand(dir, first, io);
    rmSync(join(dir, 'keys/ca/key.pem'));
    const active = await openActive();
    await deleteCommand(dir, first, io);
    await deleteCommand(dir, first, io);
    expect(existsSync(join(dir, 'keys/ca'))).toBe(false);
    expect(findCa(await authoritiesIn(dir), first).keyDeletedAt).toBeDefined();
    expect(await openActive()).toBe(active);
  });
});

test('a CA that was retired comes back with the key that is still there, under its name', async () => {
  await openActive();
  await addCommand({ dataDir: dir, name: 'b' }, io);
  await retireCommand(dir, 'b', io);
  const [chain, key] = [join(dir, 'keys/ca-b/chain.pem'), join(dir, 'keys/ca-b/key.pem')];
  await addCommand({ dataDir: dir, name: 'other', chain, key }, io);
  expect(names(await readAuthorities(dir))).toMatch(/b next$/);
  await promoteCommand({ dataDir: dir, name: 'b' }, io);
  expect(output.join('')).toContain('less than eight days before');
});

test('an encrypted root key is opened with the passphrase that the operator gives, not only with one that lies there', async () => {
  await openActive();
  const passphrase = readFileSync(join(dir, 'offline/root.passphrase'), 'utf8').trim();
  rmSync(join(dir, 'offline/root.passphrase'));
  await expect(addCommand({ dataDir: dir, name: 'b' }, io)).rejects.toMatchObject({
    detail: expect.stringContaining('the root key needs a passphrase'),
  });
  await addCommand({ dataDir: dir, name: 'b' }, { ...io, env: { MAYFLY_ROOT_PASSPHRASE: passphrase } });
  await addCommand({ dataDir: dir, name: 'c' }, { ...io, ask: async () => passphrase });
  expect(names(await readAuthorities(dir))).toMatch(/b next,c next$/);
});

test.each<[string, () => Promise<unknown>, string]>([
  ['a directory without a CA', () => promoteCommand({ dataDir: dir, name: 'b' }, io), 'holds no CA'],
  ['a root that is not here', () => addCommand({ dataDir: dir }, io), 'bring the root back for this'],
  ['a name that is a path', () => addCommand({ dataDir: dir, name: '../b' }, io), '--name is "../b"'],
  ['a key without its chain', () => addCommand({ dataDir: dir, key: 'k' }, io), '--key goes with --chain'],
  ['a chain that is not there', () => addCommand({ dataDir: dir, chain: join(dir, 'x') }, io), '--chain: cannot read'],
])('a command names %s', async (_what, work, message) => {
  await expect(work()).rejects.toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(message) });
});

test.each<[string, string]>([
  ['2026-12-01', 'expected a time with its zone'],
  ['2026-12-01T00:00', 'expected a time with its zone'],
  ['2026-13-01T00:00Z', 'expected a time with its zone'],
  ['2020-01-01T00:00Z', 'which has passed'],
])('a promotion at %s is refused', async (at, message) => {
  await openActive();
  await addCommand({ dataDir: dir, name: 'b' }, io);
  await expect(promoteCommand({ dataDir: dir, name: 'b', at }, io)).rejects.toMatchObject({
    detail: expect.stringContaining(message),
  });
});

test('a promotion beyond the end of the CA is refused when it is ordered, not when it is due', async () => {
  await openActive();
  await addCommand({ dataDir: dir, name: 'b' }, io);
  await expect(promoteCommand({ dataDir: dir, name: 'b', at: '2090-01-01T00:00+01:00' }, io)).rejects.toMatchObject({
    detail: expect.stringContaining('has expired'),
  });
});

const good = {
  name: 'a',
  state: 'active',
  fingerprint: 'a'.repeat(64),
  chain: '-----BEGIN CERTIFICATE-----',
  addedAt: '2026-06-01T00:00:00.000Z',
};
test.each<[string, unknown, string]>([
  ['two active CAs', [good, { ...good, name: 'b', fingerprint: 'b'.repeat(64) }], 'names 2 active CAs (a, b)'],
  ['a name twice', [good, { ...good, state: 'next', fingerprint: 'b'.repeat(64) }], 'two CAs with the name "a"'],
  ['a CA twice', [good, { ...good, state: 'next', name: 'b' }], 'two CAs with the fingerprint'],
  ['a key directory elsewhere', [{ ...good, keyDirectory: 'keys/ca-../../etc' }], 'cas.0.keyDirectory'],
  ['a key directory of the log', [{ ...good, keyDirectory: 'keys/ctlog' }], 'cas.0.keyDirectory'],
  ['a name that is a path', [{ ...good, name: '../a' }], 'cas.0.name'],
  ['a state unknown', [{ ...good, state: 'idle' }], 'cas.0.state'],
  ['a field unknown', [{ ...good, revoked: true }], 'cas.0'],
  ['a time that is none', [{ ...good, addedAt: 'yesterday' }], 'cas.0.addedAt'],
])('a record with %s is refused', (_what, cas, message) => {
  const text = JSON.stringify({ version: 1, cas });
  expect(() => parseAuthorities(text, 'authorities.json')).toThrow(message);
});

test('whatever the file holds, reading it gives a record or says why not', () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.record({ version: fc.constant(1), cas: fc.array(fc.object()) }).map((v) => JSON.stringify(v)),
  );
  fc.assert(
    fc.property(text, (content) => {
      try {
        parseAuthorities(content, 'authorities.json');
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
      }
    }),
  );
});

test('a record without any CA is one', () => {
  expect(parseAuthorities('{"version": 1, "cas": []}', 'x')).toEqual(noAuthorities);
  expect(() => promoteCa(noAuthorities, 'a', new Date())).toThrow('there are: none');
});
