import { execFileSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { checkLog } from '../../src/ctlog/check.js';
import { readObjectStore } from '../../src/ctlog/object-storage.js';
import { post, v2Body } from '../support/client.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { emailIssuerConfig } from './ca-server.js';
import { type PostgresServer, startPostgres } from './postgres-server.js';
import { type S3Server, startS3 } from './s3-server.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

const publicUrl = 'http://ca.interop.test';
const main = resolve(import.meta.dirname, '../../dist/main.js');
const jane = { email: 'jane@example.com', email_verified: true };

/** `mayfly serve` itself, by its flags: two of them on one object store and one database. */
describe('two servers on one object store', () => {
  const dir = mkdtempSync(join(tmpdir(), 'mayfly-objects-'));
  const running: { close(): Promise<void> }[] = [];
  let issuer: TestIssuer;
  let s3: S3Server;
  let postgres: PostgresServer;

  beforeAll(async () => {
    chmodSync(dir, 0o755); // PostgreSQL runs as nobody
    issuer = await startIssuer();
    s3 = await startS3(dir);
    postgres = await startPostgres(dir);
    writeFileSync(join(dir, 'identity.yaml'), emailIssuerConfig(issuer.url));
  }, 60_000);

  afterAll(async () => {
    for (const server of running) await server.close();
    await postgres.close();
    await s3.close();
    await issuer.close();
    await rm(dir, { recursive: true, force: true });
  }, 60_000);

  async function serve(dataDir: string, readyPath: string): Promise<RunningServer & { url: string }> {
    const [port, grpcPort, metricsPort] = await Promise.all([freePort(), freePort(), freePort()]);
    const { bucket, endpoint, credentials } = s3.s3;
    const flags = {
      host: '127.0.0.1',
      port,
      'grpc-host': '127.0.0.1',
      'grpc-port': grpcPort,
      'metrics-port': metricsPort,
      'data-dir': dataDir,
      'config-path': join(dir, 'identity.yaml'),
      'public-url': publicUrl,
      'ctlog-storage': `s3://${bucket}/serve?region=us-east-1&path-style=true&endpoint=${endpoint}`,
      'ctlog-postgres': postgres.url,
    };
    const url = `http://127.0.0.1:${port}`;
    const server = await startServer({
      name: 'mayfly',
      command: process.execPath,
      args: [main, 'serve', ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`)],
      cwd: dir,
      env: {
        AWS_ACCESS_KEY_ID: credentials?.accessKeyId ?? '',
        AWS_SECRET_ACCESS_KEY: credentials?.secretAccessKey ?? '',
      },
      readyUrl: `${url}${readyPath}`,
    });
    running.push(server);
    return { ...server, url };
  }

  const issue = async (url: string) => post(`${url}/api/v2/signingCert`, v2Body(await issuer.token(jane), jane.email));
  const size = async (url: string): Promise<number> => {
    const head = (await (await fetch(`${url}/ctlog/ct/v1/get-sth`)).json()) as { tree_size: number };
    return head.tree_size;
  };

  test('the second takes over when the first is killed, and the log goes on', async () => {
    const first = await serve(join(dir, 'one'), '/readyz');
    expect((await issue(first.url)).status).toBe(200);
    // The same CA and the same log key, as a Secret would give them to both.
    execFileSync('cp', ['-a', join(dir, 'one'), join(dir, 'two')]);
    const waiting = serve(join(dir, 'two'), '/readyz');
    await new Promise((done) => setTimeout(done, 1500));
    expect((await issue(first.url)).status).toBe(200);
    process.kill(first.pid, 'SIGKILL');
    const second = await waiting;
    expect(await size(second.url)).toBe(2);
    expect((await issue(second.url)).status).toBe(200);
    expect(await size(second.url)).toBe(3);
    const { bucket } = s3.s3;
    const reader = await readObjectStore({ ...s3.s3, bucket, prefix: 'serve/' });
    const key = createPublicKey(readFileSync(join(dir, 'two/trust/ctlog.pub.pem')));
    expect((await checkLog(reader, key, 'ca.interop.test/ctlog')).size).toBe(3);
    reader.close();
  }, 90_000);
});
