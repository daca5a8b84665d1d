import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { mustRun, toolPath } from './command.js';
import { makeKeyPair } from './openssl-ca.js';
import { startPostgres } from './postgres-server.js';
import { freePort, type RunningServer, startServer } from './server-process.js';
import { certificatesIn } from './v1-client.js';

/** The version of Trillian that certificate-transparency-go v1.4.0 names in its go.mod. */
const trillianModule = 'github.com/google/trillian@v1.7.2';

/** An RFC 6962 log that is not ours: Trillian on PostgreSQL with certificate-transparency-go's CTFE before it. */
export interface Ctfe {
  /** Submission prefix. */
  readonly url: string;
  readonly publicKeyPath: string;
  /** Ends the frontend, which is all that its clients see of it. */
  stop(): Promise<void>;
  /** Starts the frontend again, on its old port. */
  start(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts a CTFE log in `dir`, which every user must be able to enter, that accepts what ends in the last certificate of
 * `chainPath`.
 */
export async function startCtfe(dir: string, chainPath: string): Promise<Ctfe> {
  const trillian = await startTrillian(dir);
  try {
    const frontend = await startFrontend(dir, trillian, chainPath);
    const close = async (): Promise<void> => {
      await frontend.stop();
      await trillian.close();
    };
    return { ...frontend, close };
  } catch (error) {
    await trillian.close();
    throw error;
  }
}

interface Trillian {
  /** Where its gRPC listens. */
  readonly rpc: string;
  readonly treeId: string;
  close(): Promise<void>;
}

async function startTrillian(dir: string): Promise<Trillian> {
  const postgres = await startPostgres(dir);
  const parts: RunningServer[] = [];
  const close = async (): Promise<void> => {
    for (const part of parts.reverse()) await part.close();
    await postgres.close();
  };
  try {
    await loadSchema(postgres.url);
    const storage = ['--storage_system=postgresql', `--postgresql_uri=${postgres.url}`, '--quota_system=noop'];
    const server = await startPart(dir, 'trillian_log_server', storage);
    parts.push(server);
    parts.push(
      await startPart(dir, 'trillian_log_signer', [...storage, '--force_master', '--sequencer_interval=50ms']),
    );
    const tree = await mustRun(toolPath('bin/createtree'), [`--admin_server=${server.rpc}`], { cwd: dir });
    return { rpc: server.rpc, treeId: tree.stdout.trim(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startPart(
  dir: string,
  name: string,
  flags: readonly string[],
): Promise<RunningServer & { rpc: string }> {
  const rpc = `127.0.0.1:${await freePort()}`;
  const http = `127.0.0.1:${await freePort()}`;
  const args = [`--rpc_endpoint=${rpc}`, `--http_endpoint=${http}`, ...flags];
  const readyUrl = `http://${http}/healthz`;
  return { ...(await startServer({ name, command: toolPath(`bin/${name}`), args, cwd: dir, readyUrl })), rpc };
}

/** Trillian's schema lies in its module, which `go install` has fetched. */
async function loadSchema(url: string): Promise<void> {
  const module: unknown = JSON.parse(execFileSync('go', ['mod', 'download', '-json', trillianModule]).toString());
  if (typeof module !== 'object' || module === null || !('Dir' in module)) throw new Error('go names no directory');
  const sql = await readFile(join(String(module.Dir), 'storage/postgresql/schema/storage.sql'), 'utf8');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function startFrontend(dir: string, trillian: Trillian, chainPath: string): Promise<Omit<Ctfe, 'close'>> {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const { keyPath, publicKeyPath } = await makeKeyPair(dir, 'P-256', 'ctfe');
  const configPath = join(dir, 'ctfe.cfg');
  await writeFile(configPath, await logConfig(dir, trillian.treeId, keyPath, chainPath));
  const args = [`--log_config=${configPath}`, `--log_rpc_server=${trillian.rpc}`, `--http_endpoint=127.0.0.1:${port}`];
  const program = {
    name: 'ct_server',
    command: toolPath('bin/ct_server'),
    args: [...args, '--get_sth_interval=1s'],
    cwd: dir,
    readyUrl: `${origin}/healthz`,
  };
  let running: RunningServer | undefined;
  const start = async (): Promise<void> => {
    running = await startServer(program);
  };
  const stop = async (): Promise<void> => {
    await running?.close();
    running = undefined;
  };
  await start();
  return { url: `${origin}/theirs`, publicKeyPath, stop, start };
}

/** A LogConfigSet of one log in protobuf's text format. */
async function logConfig(dir: string, treeId: string, keyPath: string, chainPath: string): Promise<string> {
  const root = certificatesIn(await readFile(chainPath, 'utf8')).at(-1);
  if (root === undefined) throw new Error(`${chainPath} holds no certificate`);
  const rootPath = join(dir, 'ctfe-root.pem');
  await writeFile(rootPath, root.toString());
  const der = createPrivateKey(await readFile(keyPath)).export({ type: 'sec1', format: 'der' });
  const octal = [...der].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  return `config {
  log_id: ${treeId}
  prefix: "theirs"
  roots_pem_file: "${rootPath}"
  private_key: { [type.googleapis.com/keyspb.PrivateKey] { der: "${octal}" } }
  max_merge_delay_sec: 86400
  expected_merge_delay_sec: 120
}
`;
}
