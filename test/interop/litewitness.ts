import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatVerifierKey, signatureType } from '../../src/ctlog/witness-note.js';
import { mustRun, run, toolPath } from './command.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** A witness that is not ours: litewitness, with its key in an ssh-agent. */
export interface LiteWitness {
  readonly url: string;
  readonly vkey: string;
  /** Starts it, knowing a log by its origin and verifier key. */
  start(origin: string, logKey: string): Promise<void>;
  stop(): Promise<void>;
  close(): Promise<void>;
}

const name = 'witness.example/interop';

/** What litewitness' own tool would write into its database: a log that it has seen nothing of yet. */
const addLog = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE IF NOT EXISTS log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)")
db.execute("CREATE TABLE IF NOT EXISTS key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))")
empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
if db.execute("INSERT OR IGNORE INTO log VALUES (?, 0, ?)", (sys.argv[2], empty)).rowcount:
    db.execute("INSERT INTO key VALUES (?, ?)", (sys.argv[2], sys.argv[3]))
db.commit()
`;

/** Makes the key and starts the agent that holds it; the witness itself is not running yet. */
export async function prepareLiteWitness(dir: string): Promise<LiteWitness> {
  const socket = join(dir, 'agent.sock');
  const keyPath = join(dir, 'witness-key');
  await mustRun('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', keyPath], { cwd: dir });
  const { stdout } = await mustRun('ssh-keygen', ['-l', '-f', keyPath], { cwd: dir });
  const [, fingerprint = ''] = stdout.split(' ');
  const [, blob = ''] = (await readFile(`${keyPath}.pub`, 'utf8')).split(' ');
  // An OpenSSH public key ends in the 32 bytes of the key itself.
  const publicKey = Buffer.from(blob, 'base64').subarray(-32);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const agent = await startAgent(dir, socket, keyPath);
  const database = join(dir, 'litewitness.db');
  let running: RunningServer | undefined;
  const stop = async (): Promise<void> => {
    await running?.close();
    running = undefined;
  };
  return {
    url,
    vkey: formatVerifierKey({ name, type: signatureType.cosignature, publicKey }),
    async start(origin, logKey) {
      await mustRun('python3', ['-c', addLog, database, origin, logKey], { cwd: dir });
      const args = ['-name', name, '-db', database, '-ssh-agent', socket, '-key', fingerprint];
      args.push('-listen', `127.0.0.1:${port}`);
      const command = toolPath('bin/litewitness');
      running = await startServer({ name: 'litewitness', command, args, cwd: dir, readyUrl: `${url}/` });
    },
    stop,
    async close() {
      await stop();
      process.kill(agent);
    },
  };
}

/** Starts an ssh-agent, which goes into the background by itself, and gives its process id. */
async function startAgent(dir: string, socket: string, keyPath: string): Promise<number> {
  const { stdout } = await mustRun('ssh-agent', ['-s', '-a', socket], { cwd: dir });
  const [, pid] = /SSH_AGENT_PID=(\d+)/.exec(stdout) ?? [];
  if (pid === undefined) throw new Error(`ssh-agent names no process: ${stdout}`);
  for (let attempt = 1; ; attempt += 1) {
    const added = await run('ssh-add', ['-q', keyPath], { cwd: dir, env: { SSH_AUTH_SOCK: socket } });
    if (added.code === 0) return Number(pid);
    if (attempt === 20) throw new Error(`ssh-add: ${added.stderr}`);
    await sleep(100);
  }
}
