import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatCheckpoint, openCheckpoint, signTreeHead } from '../../src/ctlog/checkpoint.js';
import { openDirectoryStorage } from '../../src/ctlog/directory-storage.js';
import type { EmbeddedLog } from '../../src/ctlog/log.js';
import { leafHash } from '../../src/ctlog/merkle.js';
import { identityOf } from '../../src/ctlog/recovery.js';
import { type WitnessedStorage, type WitnessingOptions, withWitnesses } from '../../src/ctlog/witness.js';
import { checkpointKey, cosignatureTime, noteBody, parseVerifierKey, readLines } from '../../src/ctlog/witness-note.js';
import { parseWitnessPolicy } from '../../src/ctlog/witness-policy.js';
import { newLogKey, openLog, origin, submission, temporaryDirectory } from '../ctlog/fixtures.js';
import { type FakeWitness, fakeWitness, transportTo } from './fake-witness.js';

/** A log whose checkpoints are cosigned, with witnesses that keep to the protocol and others that do not. */

interface Lab {
  readonly log: EmbeddedLog;
  readonly storage: WitnessedStorage;
  readonly key: KeyObject;
  readonly said: readonly string[];
  readonly answers: readonly string[];
  add(count?: number): Promise<void>;
  /** The published file. */
  checkpoint(): string;
  committed(): string;
}

const open: { close(): Promise<void> }[] = [];
const directories: { dispose(): void }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  for (const one of directories.splice(0)) one.dispose();
});

async function start(
  witnesses: Readonly<Record<string, FakeWitness>>,
  quorum: string,
  more: Partial<WitnessingOptions> & { directory?: string; key?: KeyObject } = {},
): Promise<Lab> {
  const { directory = newDirectory(), key = newLogKey(), ...options } = more;
  const names = Object.keys(witnesses);
  const lines = names.map((name) => `witness ${name} ${witnesses[name]?.vkey} http://${name}/prefix/`);
  const policy = parseWitnessPolicy(
    Buffer.from([...lines, `group all all ${names.join(' ')}`, `quorum ${quorum}`].join('\n')),
  );
  const said: string[] = [];
  const answers: string[] = [];
  const say = (level: string) => (entry: unknown, text?: string) =>
    void said.push(`${level}: ${text ?? String(entry)}`);
  const storage = withWitnesses(openDirectoryStorage(join(directory, 'log')), {
    policy,
    origin,
    key,
    clock: Date.now,
    logger: { info: say('info'), warn: say('warn'), error: say('error') },
    onAnswer: (witness, result) => void answers.push(`${witness} ${result}`),
    transport: transportTo(witnesses),
    intervalMs: 5,
    timeoutMs: 10_000,
    ...options,
  });
  let committed: Uint8Array = new Uint8Array(0);
  const { replaceCheckpoint } = storage;
  storage.replaceCheckpoint = (expected, next) => {
    committed = next;
    return replaceCheckpoint(expected, next);
  };
  const log = await openLog(directory, key, { storage });
  open.push(log);
  const at = (path: string) => readFileSync(join(directory, 'log', path), 'utf8');
  return {
    log,
    storage,
    key,
    said,
    answers,
    async add(count = 1) {
      for (let i = 0; i < count; i++) await log.submit(submission());
    },
    checkpoint: () => at('checkpoint'),
    committed: () => Buffer.from(committed).toString(),
  };
}

function newDirectory(): string {
  const directory = temporaryDirectory();
  directories.push(directory);
  return directory.path;
}

async function until(what: string, happened: () => boolean): Promise<void> {
  for (const end = Date.now() + 8000; !happened(); await new Promise((done) => setTimeout(done, 2))) {
    if (Date.now() > end) throw new Error(`did not happen: ${what}`);
  }
}

const linesOf = (note: string) => readLines(note.slice(note.indexOf('\n\n') + 2));
const isCosigned = (note: string, witness: FakeWitness): boolean => {
  const key = parseVerifierKey(witness.vkey);
  return linesOf(note).some((line) => cosignatureTime(line, key, noteBody(note)) !== undefined);
};
const sizeOf = (note: string): number => Number(note.split('\n')[1]);

test('the published checkpoint gets the cosignature, the committed one does not', async () => {
  const w = fakeWitness();
  const lab = await start({ w }, 'w');
  await lab.add();
  await until('a cosignature', () => isCosigned(lab.checkpoint(), w));
  expect(linesOf(lab.committed())).toHaveLength(1);
  // The log's own two signatures come first, and a reader that knows only the CT key is content.
  expect(linesOf(lab.checkpoint()).map(({ name }) => name)).toEqual([origin, origin, 'witness.example/w1']);
  const head = openCheckpoint(Buffer.from(lab.checkpoint()), { origin, logKey: createPublicKey(lab.key) });
  expect(head).toEqual(lab.log.treeHead());
});

test('the Ed25519 line is a signature of the announced verifier key, which depends on the log key only', async () => {
  const w = fakeWitness();
  const lab = await start({ w }, 'w');
  await lab.add();
  const [, own] = linesOf(lab.checkpoint());
  const key = checkpointKey(origin, lab.key);
  expect(parseVerifierKey(lab.storage.verifierKey)).toEqual(key.verifier);
  expect(lab.checkpoint()).toContain(key.line(noteBody(lab.checkpoint())));
  expect(own?.name).toBe(origin);
  expect(checkpointKey(origin, newLogKey()).verifier.publicKey).not.toEqual(key.verifier.publicKey);
});

test('a growing log gives each time a consistency proof that the witness accepts', async () => {
  const w = fakeWitness();
  const lab = await start({ w }, 'w');
  let size = 0;
  for (const count of [1, 2, 5, 250, 20]) {
    await Promise.all(Array.from({ length: count }, () => lab.add()));
    size += count;
    await until('a cosignature', () => sizeOf(lab.checkpoint()) === size && isCosigned(lab.checkpoint(), w));
  }
  expect(lab.answers.every((answer) => answer === 'w cosigned')).toBe(true);
  expect(w.asked.some(({ oldSize, proof }) => oldSize > 0 && proof.length > 0)).toBe(true);
});

test('an empty log is not witnessed', async () => {
  const w = fakeWitness();
  await start({ w }, 'w');
  expect(w.asked).toHaveLength(0);
});

test('after a restart the witness says where it is, and the log goes on from there', async () => {
  const w = fakeWitness();
  const directory = newDirectory();
  const first = await start({ w }, 'w', { directory });
  await first.add(3);
  await until('a cosignature', () => isCosigned(first.checkpoint(), w));
  await first.log.close();
  const { length } = w.asked;
  const second = await start({ w }, 'w', { directory, key: first.key });
  await second.add(2);
  await until('a cosignature', () => sizeOf(second.checkpoint()) === 5 && isCosigned(second.checkpoint(), w));
  expect(w.asked.slice(length).map(({ oldSize }) => oldSize)).toContain(3);
});

test('until all of a group have cosigned the plain checkpoint is served, and the operator is told', async () => {
  const [a, b] = [fakeWitness('a.example'), fakeWitness('b.example')];
  b.behave(() => ({ status: 503 }));
  const lab = await start({ a, b }, 'all');
  await lab.add();
  await until('the warning', () => lab.said.some((text) => text.includes('without a quorum of witnesses')));
  expect(linesOf(lab.checkpoint())).toHaveLength(2);
  expect(lab.storage.witnessed()).toBeUndefined();
  expect(lab.said).toContainEqual(expect.stringMatching(/^warn: the witness b did not cosign: .*HTTP status 503/));
  b.behave((_asked, honest) => honest());
  await until('both', () => isCosigned(lab.checkpoint(), a) && isCosigned(lab.checkpoint(), b));
  await until('the news', () => lab.said.includes('info: a quorum of witnesses cosigns the checkpoint again'));
  expect(lab.said).toContainEqual('info: the witness b cosigns again');
});

test('a witness that hangs holds up nothing: not the writer, not the others, not the end', async () => {
  const [quick, slow] = [fakeWitness('a.example'), fakeWitness('b.example')];
  slow.behave(() => new Promise(() => {}));
  const lab = await start({ quick, slow }, 'quick');
  await lab.add();
  await until('the quick one', () => isCosigned(lab.checkpoint(), quick));
  await lab.add();
  await until('the quick one again', () => sizeOf(lab.checkpoint()) === 2 && isCosigned(lab.checkpoint(), quick));
  expect(slow.asked).toHaveLength(1);
  await lab.log.close();
});

test('a cosignature of a tree that has grown since is kept apart, and the newest checkpoint stays', async () => {
  const w = fakeWitness();
  const gate: { open: () => void } = { open: () => {} };
  w.behave(async (_asked, honest) => {
    await new Promise<void>((resolve) => {
      gate.open = resolve;
    });
    return honest();
  });
  const lab = await start({ w }, 'w');
  await lab.add();
  await until('the question', () => w.asked.length === 1);
  await lab.add(2);
  await until('the publication', () => sizeOf(lab.checkpoint()) === 3);
  gate.open();
  await until('the quorum', () => lab.storage.witnessed()?.size === 1);
  expect(sizeOf(lab.checkpoint())).toBe(3);
  expect(isCosigned(lab.checkpoint(), w)).toBe(false);
  expect(isCosigned(Buffer.from(lab.storage.witnessed()?.checkpoint ?? '').toString(), w)).toBe(true);
});

test.each<[string, (w: FakeWitness, other: FakeWitness) => Parameters<FakeWitness['behave']>[0], string, string]>([
  ['with nothing', () => () => ({ body: '' }), 'misbehaved', 'holds no cosignature of its key'],
  ['with noise', () => () => ({ body: '\u2014 x AAAA\n\n\u0000' }), 'misbehaved', 'holds no cosignature'],
  [
    'with the line of another',
    (_w, other) =>
      ({ note }) => ({ body: other.cosign(note, Date.now()) }),
    'misbehaved',
    'no cosignature',
  ],
  [
    'with a cosignature of another tree',
    (w) =>
      ({ note }) => ({ body: w.cosign(note.replace(/\n1\n/, '\n2\n'), Date.now()) }),
    'misbehaved',
    'no cosignature',
  ],
  [
    'from the past',
    (w) =>
      ({ note }) => ({ body: w.cosign(note, Date.now() - 7_200_000) }),
    'misbehaved',
    'behind our clock',
  ],
  [
    'from the future',
    (w) =>
      ({ note }) => ({ body: w.cosign(note, Date.now() + 3_600_000) }),
    'misbehaved',
    'ahead of our clock',
  ],
  ['409 without a size', () => () => ({ status: 409, body: 'no' }), 'misbehaved', 'without the size'],
  [
    '409 with a size of 400 digits',
    () => () => ({ status: 409, body: '9'.repeat(400) }),
    'misbehaved',
    'without the size',
  ],
  ['409 with a negative size', () => () => ({ status: 409, body: '-1\n' }), 'misbehaved', 'without the size'],
  [
    '409 with a larger size',
    () => () => ({ status: 409, body: '17\n' }),
    'conflict',
    'a tree of 17 entries, and this one has 1',
  ],
  [
    '409 with the size it was given',
    () => () => ({ status: 409, body: '0\n' }),
    'conflict',
    'another tree of 0 entries',
  ],
  ['that it does not know the log', () => () => ({ status: 404 }), 'refused', 'does not know this log'],
  ['that it does not know the key', () => () => ({ status: 403 }), 'refused', 'does not know the key'],
  ['that the proof is wrong', () => () => ({ status: 422 }), 'refused', 'consistency proof'],
  ['with a redirect', () => () => ({ status: 302 }), 'unavailable', 'HTTP status 302'],
  ['by closing the connection', () => () => Promise.reject(new Error('ECONNRESET')), 'unavailable', 'ECONNRESET'],
])('a witness that answers %s: the reason is told, certificates are logged', async (_what, lie, failure, message) => {
  const [w, other] = [fakeWitness(), fakeWitness('other.example')];
  w.behave(lie(w, other));
  const lab = await start({ w }, 'w');
  await lab.add();
  await until('the report', () => lab.said.some((text) => text.includes(message)));
  expect(lab.answers[0]).toBe(`w ${failure}`);
  expect(linesOf(lab.checkpoint())).toHaveLength(2);
  await lab.add();
  expect(lab.log.treeHead().size).toBe(2);
  expect(lab.log.readiness()).toEqual({ ok: true });
});

test('a witness that knows another tree of the same size is an error in the server log', async () => {
  const w = fakeWitness();
  w.forget(1);
  const lab = await start({ w }, 'w');
  await lab.add();
  await until('the error', () => lab.said.some((text) => /^error: .*another tree of 1 entries/.test(text)));
});

test('a witness that sends one size after another is not followed for ever', async () => {
  const w = fakeWitness();
  const lab = await start({ w }, 'w');
  w.behave(({ oldSize }) => ({ status: 409, body: `${oldSize === 1 ? 2 : 1}\n` }));
  await lab.add(3);
  await until('the report', () => lab.said.some((text) => text.includes('one size after another')));
});

test('a tree head that was only signed again keeps its cosignatures', async () => {
  const w = fakeWitness();
  const lab = await start({ w }, 'w');
  await lab.add();
  await until('a cosignature', () => isCosigned(lab.checkpoint(), w));
  w.behave(() => ({ status: 503 }));
  const committed = Buffer.from(lab.committed());
  await lab.storage.publish(committed);
  expect(isCosigned(lab.checkpoint(), w)).toBe(true);
});

test('a publication that failed, or seemed to, is not followed by an older one', async () => {
  const w = fakeWitness();
  const gate: { open: () => void } = { open: () => {} };
  w.behave(
    (_asked, honest) =>
      new Promise((resolve) => {
        gate.open = () => resolve(honest());
      }),
  );
  const directory = newDirectory();
  const plain = openDirectoryStorage(join(directory, 'log'));
  const published: number[] = [];
  let failing = false;
  const flaky = new Proxy(plain, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name !== 'publish') return typeof value === 'function' ? value.bind(target) : value;
      return async (checkpoint: Uint8Array) => {
        published.push(sizeOf(Buffer.from(checkpoint).toString()));
        await plain.publish(checkpoint);
        if (failing) throw new Error('EIO after the fact');
      };
    },
  });
  const key = newLogKey();
  const policy = parseWitnessPolicy(Buffer.from(`witness w ${w.vkey} http://w/prefix\nquorum w`));
  const logger = { info() {}, warn() {}, error() {} };
  const storage = withWitnesses(flaky, {
    policy,
    origin,
    key,
    clock: Date.now,
    logger,
    transport: transportTo({ w }),
    intervalMs: 1,
  });
  open.push(storage);
  const identity = identityOf(origin, key);
  const checkpointOf = (size: number): Uint8Array =>
    formatCheckpoint(signTreeHead({ size, root: leafHash(Buffer.of(size)), timestamp: Date.now() }, key), identity);
  await storage.publish(checkpointOf(1));
  await until('the question', () => w.asked.length === 1);
  failing = true;
  await expect(storage.publish(checkpointOf(2))).rejects.toThrow('EIO');
  gate.open();
  await until('the quorum', () => storage.witnessed()?.size === 1);
  expect(published).toEqual([1, 2]);
  expect(sizeOf(Buffer.from(storage.shown(checkpointOf(3))).toString())).toBe(3);
});
