import { createHash } from 'node:crypto';
import { cp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { getTrustedRoot } from '@sigstore/tuf';
import express, { type ErrorRequestHandler } from 'express';
import fc from 'fast-check';
import { toAppError } from '../../src/errors.js';
import { differences, rotateTufKey, updateTuf } from '../../src/trust/tuf-ceremony.js';
import { tufRoles } from '../../src/trust/tuf-keys.js';
import { publishTuf } from '../../src/trust/tuf-publish.js';
import { readTufRepository } from '../../src/trust/tuf-repository.js';
import { tufRoutes } from '../../src/trust/tuf-routes.js';
import { readTufTargets } from '../../src/trust/tuf-targets.js';
import { writeTrustFiles } from '../../src/trust/write.js';
import { changeTrust, damage, later, material, start, type TufLab, tufLab } from './tuf-lab.js';

let lab: TufLab;
beforeEach(async () => {
  lab = await tufLab();
});
afterEach(() => lab.close());

const repository = () => readTufRepository(lab.dir);
const targets = (at = start) => readTufTargets(lab.trustDir, at);
const json = async (name: string) => JSON.parse(await readFile(join(lab.dir, name), 'utf8'));

describe('a new repository', () => {
  test('has every role signed, with the dates that TUF wants', async () => {
    const { root, targets: signed, snapshot, timestamp } = await repository();
    expect([root, signed, snapshot, timestamp].map((metadata) => metadata?.signed.version)).toEqual([1, 1, 1, 1]);
    expect([root, signed, snapshot, timestamp].map((metadata) => metadata?.signed.expires)).toEqual([
      '2027-06-01T12:00:00Z',
      '2027-06-01T12:00:00Z',
      '2026-07-01T12:00:00Z',
      '2026-06-08T12:00:00Z',
    ]);
    expect(root.signed.consistentSnapshot).toBe(true);
  });

  test('hands out the trust files byte for byte, under their digests', async () => {
    const { targets: signed } = await repository();
    for (const [name, file] of [
      ['trusted_root.json', 'trusted_root.json'],
      ['signing_config.v0.2.json', 'signing_config.json'],
    ] as const) {
      const digest = signed.signed.targets[name]?.hashes.sha256 ?? '';
      const served = await readFile(join(lab.dir, 'targets', `${digest}.${name}`));
      expect(served).toEqual(await readFile(join(lab.trustDir, file)));
      expect(createHash('sha256').update(served).digest('hex')).toBe(digest);
    }
  });

  test('has the targets of older clients with usage and status', async () => {
    const { signed } = await json('1.targets.json');
    const custom = Object.fromEntries(
      Object.entries(signed.targets).map(([name, target]) => [name, Object(target).custom?.sigstore]),
    );
    const uri = 'https://ca.example';
    expect(custom).toMatchObject({
      'fulcio_v1.crt.pem': { usage: 'Fulcio', status: 'Expired', uri },
      'fulcio_v2.crt.pem': { usage: 'Fulcio', status: 'Active', uri },
      'ctfe.pub': { usage: 'CTFE', status: 'Active', uri: `${uri}/ctlog` },
      'tsa_leaf.crt.pem': { usage: 'TSA', status: 'Active' },
      'tsa_root.crt.pem': { usage: 'TSA', status: 'Active' },
    });
  });

  test('keeps its keys to itself, the offline ones encrypted', async () => {
    for (const dir of [lab.keysDir, ...lab.offlineDirs]) {
      expect((await stat(dir)).mode & 0o777).toBe(0o700);
      for (const name of await readdir(dir)) {
        expect((await stat(join(dir, name))).mode & 0o777).toBe(0o600);
        const pem = await readFile(join(dir, name), 'utf8');
        expect(pem.includes('BEGIN ENCRYPTED PRIVATE KEY')).toBe(/^(root|targets)\./.test(name));
      }
    }
  });

  test('is not made twice', async () => {
    await expect(tufLabAgain()).rejects.toThrow('holds a TUF repository already');
  });

  const tufLabAgain = async () => {
    const { initTuf } = await import('../../src/trust/tuf-ceremony.js');
    const one = { keys: 1, threshold: 1 };
    const lifetimes = { root: 1, targets: 1, snapshot: 1, timestamp: 1 };
    return initTuf({ ...lab, targets: await targets(), root: one, targetsRole: one, lifetimes });
  };
});

describe('refresh', () => {
  test('signs nothing while more than half of the life is left', async () => {
    expect(await publishTuf({ ...lab, now: later(3) })).toEqual([]);
  });

  test.each([
    [4, ['timestamp 2']],
    [16, ['snapshot 2', 'timestamp 2']],
  ])('after %i days signs %j', async (days, written) => {
    expect(await publishTuf({ ...lab, now: later(days) })).toEqual(written);
    expect(await publishTuf({ ...lab, now: later(days) })).toEqual([]);
  });

  test('says which key is missing', async () => {
    await rm(lab.keysDir, { recursive: true });
    await expect(publishTuf({ ...lab, now: later(4) })).rejects.toThrow(/lacks the key that signs the timestamp/);
  });

  test.each([
    ['1.root.json', '{}', /is no root metadata/],
    ['1.targets.json', '{"signed', /1\.targets\.json is no targets metadata: it has a syntax error/],
    ['1.snapshot.json', '{"signed":{},"signatures":[]}', /is no snapshot metadata/],
  ])('reports a damaged %s', async (name, text, message) => {
    await damage(lab, name, text);
    await expect(publishTuf(lab)).rejects.toThrow(message);
  });

  test('reports a target file that is damaged or missing', async () => {
    const [name = ''] = await readdir(join(lab.dir, 'targets'));
    await damage(lab, join('targets', name), 'something else');
    await expect(publishTuf(lab)).rejects.toThrow('is damaged: its SHA-256 is not the one in its name');
    await rm(join(lab.dir, 'targets', name));
    await expect(publishTuf(lab)).rejects.toThrow('is missing, and the repository refers to it');
  });

  test('refuses targets that another key signed', async () => {
    const other = await tufLab();
    await cp(join(other.dir, '1.targets.json'), join(lab.dir, '2.targets.json'));
    await other.close();
    await expect(publishTuf(lab)).rejects.toThrow('2.targets.json is not signed by enough of the keys');
  });

  test('never throws anything but a sentence, whatever a file holds', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('1.root.json', '1.targets.json', 'timestamp.json'),
        fc.json(),
        async (name, text) => {
          const path = join(lab.dir, name);
          const before = await readFile(path);
          await damage(lab, name, text);
          const error = await publishTuf(lab).then(
            () => undefined,
            (reason: unknown) => reason,
          );
          await damage(lab, name, before.toString());
          expect(error).toMatchObject({ name: 'AppError', code: 'STARTUP' });
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('update', () => {
  test('a retired CA needs one ceremony, not another when its end has come', async () => {
    const [active, former] = material.cas;
    if (active === undefined || former === undefined) throw new Error('the lab has two CAs');
    const retired = { ...former, validFor: { ...former.validFor, end: new Date(start.getTime() + 600_000) } };
    await writeTrustFiles(lab.trustDir, { ...material, cas: [active, retired] });
    await updateTuf({ ...lab, targets: await targets() });
    expect(differences(await repository(), await targets(later(1)))).toEqual([]);
  });

  test('signs changed trust files and publishes them', async () => {
    await changeTrust(lab);
    expect(differences(await repository(), await targets())).toEqual([
      'trusted_root.json',
      'fulcio_v1.crt.pem',
      'fulcio_v2.crt.pem',
    ]);
    const result = await updateTuf({ ...lab, targets: await targets() });
    expect(result).toEqual({ signed: ['targets 2'], published: ['snapshot 2', 'timestamp 2'], waits: false });
    expect(differences(await repository(), await targets())).toEqual([]);
  });

  test('signs the same again only when asked to, or after half of the life', async () => {
    expect((await updateTuf({ ...lab, targets: await targets() })).signed).toEqual([]);
    expect((await updateTuf({ ...lab, targets: await targets(), force: true })).signed).toEqual(['targets 2']);
    const now = later(200);
    expect((await updateTuf({ ...lab, now, targets: await targets(now) })).signed).toEqual(['targets 3']);
  });

  test('waits for the machine that has the online keys', async () => {
    await rename(lab.keysDir, `${lab.keysDir}-elsewhere`);
    await changeTrust(lab);
    const result = await updateTuf({ ...lab, targets: await targets() });
    expect(result).toEqual({ signed: ['targets 2'], published: [], waits: true });
    await rename(`${lab.keysDir}-elsewhere`, lab.keysDir);
    expect(await publishTuf(lab)).toEqual(['snapshot 2', 'timestamp 2']);
  });

  test('says a wrong passphrase is wrong, without quoting it', async () => {
    const passphrase = async () => 'battery staple';
    const failing = updateTuf({ ...lab, passphrase, targets: await targets(), force: true });
    await expect(failing).rejects.toThrow(/cannot be opened: the passphrase is wrong, or the file is damaged$/);
  });

  test('says which offline key is missing and how to name its directory', async () => {
    await rm(lab.offlineDirs[0] ?? '', { recursive: true });
    const failing = updateTuf({ ...lab, targets: await targets(), force: true });
    await expect(failing).rejects.toThrow(/needs 1 of 1 keys, and 0 are in .*missing: targets\..*--offline-dir/);
  });
});

describe('served', () => {
  const serving = () => {
    const app = express().use('/tuf', tufRoutes(lab.dir));
    const onError: ErrorRequestHandler = (error, _request, response, _next) => {
      response.status(toAppError(error).httpStatus).end();
    };
    return app.use(onError);
  };
  let server: Server;
  let url: string;
  beforeEach(async () => {
    const app = serving();
    server = createServer(app).listen(0, '127.0.0.1');
    await new Promise((ready) => server.once('listening', ready));
    const address = server.address();
    url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/tuf`;
  });
  afterEach(() => new Promise<void>((done) => void server.close(() => done())));

  test('a real client reads it at every moment of a rotation of every key', async () => {
    const now = new Date();
    await lab.close();
    lab = await tufLab({ now });
    server.removeAllListeners('request');
    server.on('request', serving());
    const rootPath = join(lab.home, 'first.json');
    await cp(join(lab.dir, '1.root.json'), rootPath);
    const read = (cachePath: string) => getTrustedRoot({ mirrorURL: url, rootPath, cachePath, retry: 0 });
    const failures: unknown[] = [];
    let reads = 0;
    let rotating = true;
    const reader = async (): Promise<void> => {
      while (rotating) {
        reads += 1;
        await read(join(lab.home, `cache-${reads}`)).catch((error: unknown) => failures.push(error));
      }
    };
    const reading = reader();
    for (const role of tufRoles) await rotateTufKey({ ...lab, now: new Date(), role });
    rotating = false;
    await reading;
    expect(reads).toBeGreaterThan(0);
    expect(failures).toEqual([]);
  });

  test('a mirror URL that ends with a slash will do', async () => {
    await lab.close();
    lab = await tufLab({ now: new Date() });
    server.removeAllListeners('request');
    server.on('request', serving());
    const rootPath = join(lab.dir, '1.root.json');
    const root = await getTrustedRoot({ mirrorURL: `${url}/`, rootPath, cachePath: join(lab.home, 'cache'), retry: 0 });
    expect(root.certificateAuthorities).toHaveLength(2);
  });

  test.each(['/next.root.json', '/..%2fkeys', '/targets/', '/targets/..%2f1.root.json', '/01.root.json', '/'])(
    'nothing else is served: %s',
    async (path) => {
      expect((await fetch(url + path)).status).not.toBe(200);
    },
  );
});
