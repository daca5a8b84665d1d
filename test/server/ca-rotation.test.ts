import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plainPem } from '../../src/ca/ceremony-key.js';
import { createChain } from '../../src/ca/create.js';
import { addCommand } from '../../src/cli/ca-add.js';
import { deleteCommand } from '../../src/cli/ca-delete.js';
import { promoteCommand } from '../../src/cli/ca-promote.js';
import { retireCommand } from '../../src/cli/ca-retire.js';
import type { RunningServer } from '../../src/server/start.js';
import { encodePem } from '../../src/x509/pem.js';
import { post, v2Body, v2Chain } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { emailConfig, eventually, start, startFailure, temporary } from './lab.js';

const jane = { email: 'jane@example.com', email_verified: true };
const io = { out: () => undefined, err: () => undefined, now: () => new Date(), env: {} };

let issuer: TestIssuer;
let dir: string;
let dataDir: string;
let server: RunningServer | undefined;
let lines: string[];
beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => issuer.close());
beforeEach(() => {
  dir = temporary();
  dataDir = join(dir, 'data');
  lines = [];
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(dir, { recursive: true });
});

async function serve(flags: Record<string, string> = {}): Promise<RunningServer> {
  server = await start({ 'data-dir': dataDir, 'config-path': emailConfig(dir, issuer.url), ...flags }, lines);
  return server;
}

/** SHA-256 of the CA certificate that the next certificate comes with. */
async function issuingCa({ url }: RunningServer): Promise<string> {
  const answer = await post(`${url}/api/v2/signingCert`, v2Body(await issuer.token(jane), jane.email));
  const [leaf, ca] = v2Chain(answer);
  if (leaf === undefined || ca === undefined) throw new Error(answer.text);
  expect(leaf.verify(ca.publicKey)).toBe(true);
  return fingerprint(ca.raw);
}

const fingerprint = (der: Uint8Array): string => createHash('sha256').update(der).digest('hex');

/** SHA-256 of the issuing certificates of the trust bundle. */
async function bundle({ url }: RunningServer): Promise<string[]> {
  const body = (await (await fetch(`${url}/api/v2/trustBundle`)).json()) as { chains: { certificates: string[] }[] };
  return body.chains.map(({ certificates: [pem = ''] }) => fingerprint(new X509Certificate(pem).raw));
}

interface TrustedCa {
  certChain: { certificates: { rawBytes: string }[] };
  validFor: { start: string; end?: string };
}

/** SHA-256 of the issuing certificates of the trusted root, with the ends they have. */
async function trusted({ url }: RunningServer): Promise<Map<string, string | undefined>> {
  const root = (await (await fetch(`${url}/trust/trusted_root.json`)).json()) as {
    certificateAuthorities: TrustedCa[];
  };
  return new Map(
    root.certificateAuthorities.map(({ certChain, validFor }) => [
      fingerprint(Buffer.from(certChain.certificates[0]?.rawBytes ?? '', 'base64')),
      validFor.end,
    ]),
  );
}

/** Writes a new issuing CA's chain.pem and key.pem; gives its fingerprint. */
async function writePair(into: string): Promise<string> {
  const { root, intermediate } = await createChain('lab', Date.now(), randomBytes);
  mkdirSync(into, { recursive: true });
  const chain = [intermediate, root].map(({ certificate }) => encodePem('CERTIFICATE', certificate));
  writeFileSync(join(into, 'chain.pem'), chain.join(''));
  writeFileSync(join(into, 'key.pem'), plainPem(intermediate.privateKey), { mode: 0o600 });
  return fingerprint(intermediate.certificate);
}

describe('a data directory', () => {
  test('has a CA added, promoted, retired and deleted while the server runs', async () => {
    const running = await serve();
    const a = await issuingCa(running);
    await addCommand({ dataDir, name: 'second' }, io);
    await eventually(async () => (await bundle(running)).length === 2);
    expect((await bundle(running))[0]).toBe(a);
    expect(await issuingCa(running)).toBe(a);

    await promoteCommand({ dataDir, name: 'second' }, io);
    await eventually(async () => (await issuingCa(running)) !== a);
    const b = await issuingCa(running);
    expect(await bundle(running)).toEqual([b, a]);
    expect([...(await trusted(running)).values()]).toEqual([undefined, undefined]);

    await retireCommand(dataDir, a.slice(0, 8), io);
    await eventually(async () => (await bundle(running)).length === 1);
    const end = Date.parse((await trusted(running)).get(a) ?? '');
    expect(end).toBeGreaterThan(Date.now());
    expect(end).toBeLessThanOrEqual(Date.now() + 600_000);

    await deleteCommand(dataDir, a.slice(0, 8), io);
    expect(() => readFileSync(join(dataDir, 'keys/ca/key.pem'))).toThrow();
    expect(await issuingCa(running)).toBe(b);
    await running.close();
    const again = await serve();
    expect(await issuingCa(again)).toBe(b);
    expect([...(await trusted(again)).keys()].sort()).toEqual([a, b].sort());
  });

  test('promotes at a date, also one that came while no server ran', async () => {
    const running = await serve();
    const a = await issuingCa(running);
    await addCommand({ dataDir, name: 'second' }, io);
    await promoteCommand({ dataDir, name: 'second', at: new Date(Date.now() + 1000).toISOString() }, io);
    await eventually(async () => (await issuingCa(running)) !== a);
    await addCommand({ dataDir, name: 'third' }, io);
    await running.close();
    await promoteCommand({ dataDir, name: 'third', at: new Date(Date.now() + 50).toISOString() }, io);
    await new Promise((resolve) => setTimeout(resolve, 60));
    await serve();
    expect(lines.join('')).toContain('mayfly is ready');
    const record = JSON.parse(readFileSync(join(dataDir, 'authorities.json'), 'utf8')) as { cas: { state: string }[] };
    expect(record.cas.map(({ state }) => state)).toEqual(['former', 'former', 'active']);
  });

  test('keeps its CAs when the record is damaged, and says so in log, metric and readiness', async () => {
    const running = await serve();
    const a = await issuingCa(running);
    const record = readFileSync(join(dataDir, 'authorities.json'));
    writeFileSync(join(dataDir, 'authorities.json'), '{"version": 1, "cas": []');
    await eventually(() => lines.join('').includes('change of the certificate authority refused'));
    const ready = await fetch(`${running.url}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.text()).toContain('authorities.json is not JSON');
    expect(await (await fetch(running.metricsUrl)).text()).toContain('mayfly_ca_reloads_total{result="refused"} 1');
    expect(await issuingCa(running)).toBe(a);
    writeFileSync(join(dataDir, 'authorities.json'), record);
    await eventually(async () => !(await (await fetch(`${running.url}/readyz`)).text()).includes('not JSON'));
  });

  test('does not promote a CA whose key is gone, and warns before somebody tries', async () => {
    const running = await serve();
    const a = await issuingCa(running);
    await addCommand({ dataDir, name: 'second' }, io);
    rmSync(join(dataDir, 'keys/ca-second/key.pem'));
    await expect(promoteCommand({ dataDir, name: 'second' }, io)).rejects.toMatchObject({
      detail: expect.stringContaining('keys/ca-second/key.pem: it is missing'),
    });
    running.reload('test');
    await eventually(() => lines.join('').includes('the CA second could not be promoted now'));
    expect(await issuingCa(running)).toBe(a);
  });

  test('of format 1 becomes one of format 2 with the same CA', async () => {
    const a = await issuingCa(await serve());
    await server?.close();
    rmSync(join(dataDir, 'authorities.json'));
    writeFileSync(join(dataDir, 'format'), '{"format": 1, "holds": ["ctlog", "ca"]}');
    expect(await issuingCa(await serve())).toBe(a);
    expect(JSON.parse(readFileSync(join(dataDir, 'format'), 'utf8'))).toMatchObject({ format: 2 });
  });

  test('makes a CA from elsewhere its first and active one', async () => {
    const a = await writePair(join(dir, 'made'));
    await addCommand({ dataDir, chain: join(dir, 'made/chain.pem'), key: join(dir, 'made/key.pem') }, io);
    expect(await issuingCa(await serve())).toBe(a);
  });
});

describe('--ca fileca', () => {
  const flags = (at = join(dir, 'pair')) => ({
    ca: 'fileca',
    'fileca-cert': join(at, 'chain.pem'),
    'fileca-key': join(at, 'key.pem'),
  });

  test('loads files that are replaced; the CA before stays in the trusted root with an end', async () => {
    const a = await writePair(join(dir, 'pair'));
    const running = await serve(flags());
    expect(await issuingCa(running)).toBe(a);
    const b = await writePair(join(dir, 'pair'));
    await eventually(async () => (await issuingCa(running)) === b);
    await eventually(async () => (await trusted(running)).get(a) !== undefined);
    expect(await bundle(running)).toEqual([b]);
    expect((await trusted(running)).get(b)).toBeUndefined();
  });

  test('keeps the old pair when key and chain do not belong together', async () => {
    const a = await writePair(join(dir, 'pair'));
    const running = await serve(flags());
    await writePair(join(dir, 'other'));
    renameSync(join(dir, 'other/key.pem'), join(dir, 'pair/key.pem'));
    await eventually(() => lines.join('').includes('refused, the old one stays'));
    expect(await issuingCa(running)).toBe(a);
    renameSync(join(dir, 'other/chain.pem'), join(dir, 'pair/chain.pem'));
    await eventually(async () => (await issuingCa(running)) !== a);
  });

  test('follows the symlinks of a mounted Secret', async () => {
    const mount = join(dir, 'mount');
    const a = await writePair(join(mount, '..v1'));
    symlinkSync('..v1', join(mount, '..data'));
    for (const name of ['chain.pem', 'key.pem']) symlinkSync(`..data/${name}`, join(mount, name));
    const running = await serve(flags(mount));
    expect(await issuingCa(running)).toBe(a);
    const b = await writePair(join(mount, '..v2'));
    symlinkSync('..v2', join(mount, '..data_tmp'));
    renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
    await eventually(async () => (await issuingCa(running)) === b);
  });

  test('loads nothing by itself with --fileca-watch=false, and everything on SIGHUP', async () => {
    const a = await writePair(join(dir, 'pair'));
    const running = await serve({ ...flags(), 'fileca-watch': 'false' });
    const b = await writePair(join(dir, 'pair'));
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await issuingCa(running)).toBe(a);
    running.reload('SIGHUP');
    await eventually(async () => (await issuingCa(running)) === b);
  });

  test('announces a CA before it has its key', async () => {
    const a = await writePair(join(dir, 'pair'));
    const b = await writePair(join(dir, 'new'));
    const running = await serve(flags());
    let said = '';
    const out = (text: string): void => {
      said += text;
    };
    await addCommand({ dataDir, name: 'spring', chain: join(dir, 'new/chain.pem') }, { ...io, out });
    // Not the promotion, which is refused below.
    expect(said).toMatch(/Wait, .* then: give the server its key and chain/);
    await eventually(async () => (await bundle(running)).length === 2);
    expect(await bundle(running)).toEqual([a, b]);
    await expect(promoteCommand({ dataDir, name: 'spring' }, io)).rejects.toMatchObject({
      detail: expect.stringContaining('the key of spring is not in this data directory'),
    });
    for (const name of ['key.pem', 'chain.pem']) renameSync(join(dir, 'new', name), join(dir, 'pair', name));
    await eventually(async () => (await issuingCa(running)) === b);
    expect(await bundle(running)).toContain(b);
  });

  test('knows after a restart what was active before, and goes back to it', async () => {
    const a = await writePair(join(dir, 'a'));
    const b = await writePair(join(dir, 'b'));
    await (await serve(flags(join(dir, 'a')))).close();
    const running = await serve(flags(join(dir, 'b')));
    expect(await bundle(running)).toEqual([b]);
    expect((await trusted(running)).get(a)).toBeDefined();
    await running.close();
    const back = await serve(flags(join(dir, 'a')));
    expect(await bundle(back)).toEqual([a]);
    expect((await trusted(back)).get(a)).toBeUndefined();
    expect((await trusted(back)).get(b)).toBeDefined();
    await back.close();
    server = undefined;
    expect(await startFailure({ 'data-dir': dataDir, 'config-path': emailConfig(dir, issuer.url) })).toMatch(
      /cannot be served: the key of the active CA, \w+, is not in it/,
    );
  });
});

test('trust files have entity tags, which change with them', async () => {
  const { url } = await serve();
  const first = await fetch(`${url}/trust/trusted_root.json`);
  const etag = first.headers.get('etag') ?? '';
  expect(first.headers.get('cache-control')).toBe('no-cache');
  const ask = async (tag: string) =>
    (await fetch(`${url}/trust/trusted_root.json`, { headers: { 'If-None-Match': tag } })).status;
  expect([await ask(etag), await ask(`"x", W/${etag}`), await ask('"x"')]).toEqual([304, 304, 200]);
  await addCommand({ dataDir }, io);
  await eventually(async () => (await ask(etag)) === 200);
  expect((await fetch(`${url}/trust/nothing.json`)).status).toBe(404);
});

test('trust files follow the identity configuration', async () => {
  const { url } = await serve();
  const config = async () => (await fetch(`${url}/trust/signing_config.json`)).text();
  expect(await config()).toContain(issuer.url);
  emailConfig(dir, 'https://login.example.com');
  await eventually(async () => (await config()).includes('https://login.example.com'));
});
