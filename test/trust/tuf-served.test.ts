import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { collectFlags } from '../../src/config/flag-sources.js';
import { serveConfig } from '../../src/config/serve.js';
import { checkFipsKey, type FipsProbe } from '../../src/fips.js';
import { createMetrics } from '../../src/metrics.js';
import { offlineTrustMaterial } from '../../src/server/offline-trust.js';
import { type RunningServer, startServer } from '../../src/server/start.js';
import { openTuf } from '../../src/server/tuf.js';
import { clientBundle } from '../../src/trust/client-bundle.js';
import { trustedRootJson } from '../../src/trust/trusted-root.js';
import { emailConfig, loopback, start, startFailure, temporary } from '../server/lab.js';
import { changeTrust, start as firstDay, later, type TufLab, tufLab } from './tuf-lab.js';

let dir: string;
beforeEach(() => {
  dir = temporary();
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const flags = () => ({ 'data-dir': join(dir, 'data'), 'config-path': emailConfig(dir, 'https://login.example') });

describe('a server with a TUF repository', () => {
  let lab: TufLab;
  let lines: string[];
  beforeEach(async () => {
    lab = await tufLab();
    lines = [];
  });
  afterEach(() => lab.close());

  const open = (now: Date) => {
    const metrics = createMetrics('', '');
    const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    const offlineDir = lab.offlineDirs[0] ?? '';
    return { metrics, tuf: openTuf({ ...lab, offlineDir, logger, metrics, clock: () => now.getTime() }) };
  };

  test('signs timestamp and snapshot again by itself', async () => {
    const { tuf } = open(later(16));
    await tuf.look();
    await tuf.close();
    expect(lines.join()).toContain('"published":["snapshot 2","timestamp 2"]');
  });

  test('says what is out of date and which command helps, once a day', async () => {
    await changeTrust(lab);
    const { tuf, metrics } = open(firstDay);
    await tuf.look();
    await tuf.look();
    await tuf.close();
    const said = lines.filter((line) => line.includes('is out of date (trusted_root.json'));
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('mayfly trust tuf update');
    expect(await metrics.registry.metrics()).toContain('mayfly_tuf_targets_outdated 3');
  });

  test('warns two months before the root ends, and that the offline keys lie beside it', async () => {
    const { tuf, metrics } = open(later(310));
    await tuf.look();
    await tuf.close();
    expect(lines.join()).toContain('root metadata of the TUF repository ends at 2027-06-01T12:00:00.000Z');
    expect(lines.join()).toContain('mayfly trust tuf update --root');
    expect(lines.join()).toContain('the offline keys of the TUF repository lie beside the server');
    expect(await metrics.registry.metrics()).toMatch(/mayfly_tuf_seconds_until_expiry\{role="root"\} 47519\d\d/);
  });

  test('goes on when the repository is damaged, and says so', async () => {
    writeFileSync(join(lab.dir, '1.root.json'), 'nothing');
    const { tuf } = open(firstDay);
    await tuf.look();
    await tuf.close();
    expect(lines.join()).toContain('cannot be kept fresh');
  });
});

describe('trust files without the server', () => {
  test('are those that the server publishes, with the services of --trust-config', async () => {
    const services = join(dir, 'services.yaml');
    const { publicKey } = generateKeyPairSync('ed25519');
    const pem = publicKey.export({ type: 'spki', format: 'pem' });
    writeFileSync(
      services,
      JSON.stringify({ rekor: [{ url: 'https://rekor.example', 'public-key': pem, 'api-version': 2 }] }),
    );
    const all = { ...flags(), tsa: 'true', 'trust-config': services };
    const server = await start(all);
    const served = await (await fetch(`${server.url}/trust/trusted_root.json`)).json();
    const config = await fetch(`${server.url}/trust/client-trust-config.json`);
    expect((await fetch(`${server.url}/tuf/timestamp.json`)).status).toBe(404);
    await server.close();
    expect(await config.json()).toMatchObject({ signingConfig: { rekorTlogUrls: [{ url: 'https://rekor.example' }] } });
    const material = await offlineTrustMaterial(serveConfig(collectFlags(all, {}, undefined)), Date.now);
    expect(JSON.parse(JSON.stringify(trustedRootJson(material)))).toEqual(served);
    expect(served).toMatchObject({ tlogs: [{ baseUrl: 'https://rekor.example' }], timestampAuthorities: [{}] });
    expect(clientBundle({ material })).toEqual(clientBundle({ material }));
  });

  test.each([
    ['rekor: [{ url: ftp://x, public-key: x }]', /services.yaml: rekor\[0\].url: expected an http or https URL/],
    ['rekor: [{ url: "https://x", public-key: nothing.pem }]', /rekor\[0\].public-key: cannot read .*nothing.pem/],
    ['tsa: [{ url: "https://x", certificate-chain: services.yaml }]', /tsa\[0\].certificate-chain.*no certificate/],
    ['tsas: []', /services.yaml: Unrecognized key: "tsas"/],
    ['rekor: [', /--trust-config: cannot read/],
  ])('a file %s is refused', async (text, message) => {
    writeFileSync(join(dir, 'services.yaml'), text);
    expect(await startFailure({ ...flags(), 'trust-config': join(dir, 'services.yaml') })).toMatch(message);
  });

  test('of a directory that no server used are refused', async () => {
    const config = serveConfig(collectFlags(flags(), {}, undefined));
    await expect(offlineTrustMaterial(config, Date.now)).rejects.toThrow('no server ever ran with');
  });
});

describe('--fips', () => {
  const inFips: FipsProbe = { getFips: () => 1, openssl: '3.0.19' };
  const startWith = (more: Record<string, string>): Promise<RunningServer> =>
    startServer(
      { ...loopback, ...flags(), fips: 'true', ...more },
      { environment: {}, logger: pino({ level: 'silent' }), fips: inFips },
    );

  test('refuses an OpenSSL that is not in FIPS mode, before anything is written', async () => {
    expect(await startFailure({ ...flags(), fips: 'true' })).toMatch(/is not in FIPS mode \(crypto.getFips\(\) is 0\)/);
    expect(() => readFileSync(join(dir, 'data/format'))).toThrow();
  });

  test('starts in FIPS mode with the CA it makes itself', async () => {
    await (await startWith({ tsa: 'true' })).close();
  });

  test('refuses a client key algorithm that is not approved', async () => {
    const failing = startWith({ 'client-signing-algorithms': 'ecdsa-sha2-256-nistp256,ed25519' });
    await expect(failing).rejects.toThrow('--client-signing-algorithms names ed25519, which --fips does not offer');
  });
  test.each([
    ['ec', generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey, undefined],
    ['ed25519', generateKeyPairSync('ed25519').publicKey, '--fips: the key of the CA is ed25519'],
  ])('has a word on a CA key of type %s', (_type, key, message) => {
    const check = () => checkFipsKey('the key of the CA', key);
    if (message === undefined) expect(check).not.toThrow();
    else expect(check).toThrow(message);
  });
});
