import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Options } from '../../src/ctlog/s3-objects.js';
import { toolPath } from './command.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** A running MinIO with one empty bucket. */
export interface S3Server extends RunningServer {
  readonly s3: S3Options;
}

/** Starts MinIO, which test/interop/setup.sh installs, with its data in `dir`. */
export async function startS3(dir: string): Promise<S3Server> {
  const data = join(dir, 'minio');
  mkdirSync(data);
  const [port, consolePort] = [await freePort(), await freePort()];
  const endpoint = `http://127.0.0.1:${port}`;
  const credentials = { accessKeyId: 'interop', secretAccessKey: 'interop-secret' };
  const server = await startServer({
    name: 'minio',
    command: toolPath('bin/minio'),
    args: ['server', data, '--address', `127.0.0.1:${port}`, '--console-address', `127.0.0.1:${consolePort}`],
    cwd: dir,
    env: {
      MINIO_ROOT_USER: credentials.accessKeyId,
      MINIO_ROOT_PASSWORD: credentials.secretAccessKey,
      MINIO_BROWSER: 'off',
      MINIO_UPDATE: 'off',
    },
    readyUrl: `${endpoint}/minio/health/ready`,
  });
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
  await client.send(new CreateBucketCommand({ Bucket: 'ctlog' }));
  client.destroy();
  return { ...server, s3: { bucket: 'ctlog', prefix: 'log/', endpoint, pathStyle: true, credentials } };
}
