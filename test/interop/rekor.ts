import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toolPath } from './command.js';
import { makeKeyPair } from './openssl-ca.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** A running Rekor v2 on files. */
export interface Rekor extends RunningServer {
  readonly url: string;
  /** The name in its checkpoints. */
  readonly origin: string;
  /** Its Ed25519 public key as PEM. */
  readonly publicKeyPath: string;
}

/** Starts Rekor v2 with its storage and key under `dir`. */
export async function startRekor(dir: string): Promise<Rekor> {
  const { keyPath, publicKeyPath } = await makeKeyPair(dir, 'Ed25519', 'rekor');
  const storageDir = join(dir, 'rekor');
  await mkdir(storageDir);

  const [port, grpcPort, metricsPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const url = `http://127.0.0.1:${port}`;
  const origin = 'rekor.interop.test';
  const ports = ['--http-port', `${port}`, '--grpc-port', `${grpcPort}`, '--http-metrics-port', `${metricsPort}`];
  const log = ['--hostname', origin, '--signer-filepath', keyPath, '--storage-dir', storageDir];
  const server = await startServer({
    name: 'rekor-server',
    command: toolPath('bin/rekor-posix'),
    args: ['serve', ...ports, ...log, '--checkpoint-interval', '1s'],
    cwd: dir,
    readyUrl: `${url}/healthz`,
  });
  return { ...server, url, origin, publicKeyPath };
}
