import { cpSync, rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { readSlotFile } from '../../src/ctlog/slot-file.js';
import { type RunningServer, startServer } from '../../src/server/start.js';
import { emailConfig, loopback, startFailure, temporary } from '../server/lab.js';
import { newKey, post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';

const hourMs = 3_600_000;
let issuer: TestIssuer;

beforeAll(async () => {
  issuer = await startIssuer({ alg: 'ES256' });
});
afterAll(() => issuer.close());

/** The flags of an instance that does not exist yet. */
function newInstance(): { dataDir: string; flags: Record<string, string> } {
  const dir = temporary();
  const dataDir = join(dir, 'data');
  const config = { 'data-dir': dataDir, 'config-path': emailConfig(dir, issuer.url) };
  return { dataDir, flags: { ...loopback, ...config, 'public-url': 'https://ca.example.com' } };
}

const opened: RunningServer[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((server) => server.close()));
});

/** A server that is closed after the test, unless it is closed in it. */
async function serverOf(flags: Record<string, string>, clock = Date.now): Promise<RunningServer> {
  const server = await startServer(flags, { environment: {}, clock, logger: pino({ level: 'silent' }) });
  opened.push(server);
  return server;
}

async function issue({ url }: RunningServer, claims = {}) {
  const token = await issuer.token({ email: 'jane@example.com', email_verified: true, ...claims });
  return post(`${url}/api/v2/signingCert`, v2Body(token, 'jane@example.com', newKey()));
}

/** An instance whose log has an entry, stopped. */
async function stoppedInstance() {
  const instance = newInstance();
  const server = await serverOf(instance.flags);
  expect((await issue(server)).status).toBe(200);
  await server.close();
  const at = (name: string) => join(instance.dataDir, 'ctlog', name);
  return { ...instance, at };
}

describe('a server does not start, and says why, with', () => {
  type Stopped = Awaited<ReturnType<typeof stoppedInstance>>;

  const copy = (from: string, to: string) => cpSync(from, to, { recursive: true });

  test.each<[string, (instance: Stopped, other: Stopped) => void, RegExp]>([
    [
      'a truncated published checkpoint',
      ({ at }) => truncateSync(at('checkpoint'), 40),
      /the published checkpoint in .*ctlog is not one of this log: it is not a signed note/,
    ],
    [
      'a truncated committed checkpoint',
      ({ at }) => truncateSync(at('.writer/committed'), 40),
      /\.writer\/committed is damaged: neither of its two slots is whole.*Nothing was signed/,
    ],
    [
      'an empty committed checkpoint',
      ({ at }) => truncateSync(at('.writer/committed'), 0),
      /the committed checkpoint in .*ctlog is not one of this log/,
    ],
    [
      "another log's published checkpoint",
      ({ at }, other) => copy(other.at('checkpoint'), at('checkpoint')),
      /the published checkpoint in .*ctlog is not one of this log: it holds no signature line of this log's key/,
    ],
    [
      "another log's whole directory",
      ({ at }, other) => {
        rmSync(at('.'), { recursive: true });
        copy(other.at('.'), at('.'));
      },
      /the committed checkpoint in .*ctlog is not one of this log.*Give the log its own directory/,
    ],
    [
      'a data tile that is gone',
      ({ at }) => rmSync(at('tile/data'), { recursive: true }),
      /the log in .*ctlog is damaged: .*tile\/data\/000/,
    ],
  ])('%s', async (_, damage, message) => {
    const [instance, other] = [await stoppedInstance(), await stoppedInstance()];
    const checkpoint = () => readSlotFile(instance.at('.writer/committed')).catch(String);
    damage(instance, other);
    const before = await checkpoint();
    expect(await startFailure(instance.flags)).toMatch(message);
    expect(await checkpoint()).toEqual(before);
  });

  test("a published checkpoint from the future of the writer's own", async () => {
    const instance = await stoppedInstance();
    const old = `${instance.dataDir}-old`;
    copy(instance.at('.writer'), old);
    const server = await serverOf(instance.flags);
    expect((await issue(server)).status).toBe(200);
    await server.close();
    rmSync(instance.at('.writer'), { recursive: true });
    copy(old, instance.at('.writer'));
    expect(await startFailure(instance.flags)).toMatch(
      /its published checkpoint \(size 2\) is newer than the committed one \(size 1\), so an older copy/,
    );
  });
});

describe('when the clock was an hour ahead and has been put right', () => {
  const token = () => {
    const iat = Math.floor(Date.now() / 1000);
    return { iat, exp: iat + 4 * 3600 };
  };

  test('a server that starts is not ready, refuses with 503 and Retry-After, and says by how much', async () => {
    const { flags } = await stoppedInstance();
    const ahead = await serverOf(flags, () => Date.now() + hourMs);
    expect((await issue(ahead, token())).status).toBe(200);
    await ahead.close();
    const server = await serverOf(flags);
    await expectClockBehind(server);
    await server.close();
    const later = await serverOf(flags, () => Date.now() + hourMs);
    expect((await issue(later, token())).status).toBe(200);
    await later.close();
  });

  test('a server that runs stops issuing until the clock has caught up', async () => {
    let aheadMs = hourMs;
    const { flags } = await stoppedInstance();
    const server = await serverOf(flags, () => Date.now() + aheadMs);
    expect((await issue(server, token())).status).toBe(200);
    aheadMs = 0;
    await expectClockBehind(server);
    aheadMs = hourMs + 1;
    expect((await issue(server, token())).status).toBe(200);
    await server.close();
  });

  async function expectClockBehind(server: RunningServer): Promise<void> {
    const refusal = await issue(server);
    expect(refusal.status).toBe(503);
    expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThan(0);
    const ready = await fetch(`${server.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.text()).toMatch(/the clock is 3[56]\d{5} ms behind the last tree head/);
  }
});
