import { createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { toolPath } from './command.js';
import { makeKeyPair } from './openssl-ca.js';
import { freePort, type RunningServer, startServer } from './server-process.js';
import { certificatesIn } from './v1-client.js';

/** A static-ct-api log that is not ours: TesseraCT on a directory, which a web server of a few lines makes readable. */
export interface TesseraCt {
  /** Submission prefix. */
  readonly url: string;
  readonly monitoringUrl: string;
  readonly publicKeyPath: string;
  stop(): Promise<void>;
  /** Starts it again, on its old port. */
  start(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a log in `dir` that accepts what ends in the last certificate of `chainPath`, and more if `flags` say so. */
export async function startTesseraCt(
  dir: string,
  chainPath: string,
  flags: readonly string[] = [],
): Promise<TesseraCt> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/theirs`;
  const { keyPath, publicKeyPath } = await makeKeyPair(dir, 'P-256', 'tesseract');
  // It reads SEC1 only.
  await writeFile(keyPath, createPrivateKey(await readFile(keyPath)).export({ type: 'sec1', format: 'pem' }));
  const root = certificatesIn(await readFile(chainPath, 'utf8')).at(-1);
  if (root === undefined) throw new Error(`${chainPath} holds no certificate`);
  const rootPath = join(dir, 'tesseract-root.pem');
  await writeFile(rootPath, root.toString());
  const storage = join(dir, 'tesseract');
  const program = {
    name: 'tesseract',
    command: toolPath('bin/tesseract'),
    args: [
      `--http_endpoint=127.0.0.1:${port}`,
      '--origin=log.example/theirs',
      '--path_prefix=theirs',
      `--storage_dir=${storage}`,
      `--roots_pem_file=${rootPath}`,
      `--private_key=${keyPath}`,
      '--batch_max_age=50ms',
      '--checkpoint_interval=200ms',
      ...flags,
    ],
    cwd: dir,
    readyUrl: `${url}/ct/v1/get-roots`,
  };
  let running: RunningServer | undefined = await startServer(program);
  const stop = async (): Promise<void> => {
    await running?.close();
    running = undefined;
  };
  const reading = await serveDirectory(storage);
  return {
    url,
    monitoringUrl: reading.url,
    publicKeyPath,
    stop,
    async start() {
      running = await startServer(program);
    },
    async close() {
      await stop();
      reading.close();
    },
  };
}

async function serveDirectory(directory: string): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    readFile(join(directory, normalize(`/${request.url ?? ''}`))).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
