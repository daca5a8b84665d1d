import {
  CreateAliasCommand,
  CreateKeyCommand,
  GetPublicKeyCommand,
  type KeySpec,
  KMSClient,
} from '@aws-sdk/client-kms';
import { toolPath } from './command.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** A running moto: AWS KMS in Python, which makes its keys itself and keeps them in memory. */
export interface Moto extends RunningServer {
  /** What a program needs in its environment to take moto for AWS. */
  readonly env: Readonly<Record<string, string>>;
  /** Makes a key with an alias; its public key as DER. */
  createKey(spec: KeySpec, alias: string): Promise<Uint8Array>;
}

/** Starts moto, which test/interop/setup.sh installs. */
export async function startMoto(dir: string): Promise<Moto> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer({
    name: 'moto',
    command: toolPath('moto-venv/bin/moto_server'),
    args: ['-H', '127.0.0.1', '-p', `${port}`],
    cwd: dir,
    readyUrl: `${url}/moto-api/`,
  });
  const credentials = { accessKeyId: 'interop', secretAccessKey: 'interop-secret' };
  const client = new KMSClient({ endpoint: url, region: 'eu-west-1', credentials });
  return {
    ...server,
    env: {
      AWS_ENDPOINT_URL_KMS: url,
      AWS_DEFAULT_REGION: 'eu-west-1',
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
    async createKey(KeySpec, alias) {
      const { KeyMetadata } = await client.send(new CreateKeyCommand({ KeySpec, KeyUsage: 'SIGN_VERIFY' }));
      const TargetKeyId = KeyMetadata?.KeyId;
      await client.send(new CreateAliasCommand({ AliasName: alias, TargetKeyId }));
      const { PublicKey } = await client.send(new GetPublicKeyCommand({ KeyId: TargetKeyId }));
      if (PublicKey === undefined) throw new Error('moto gave no public key');
      return PublicKey;
    },
    async close() {
      client.destroy();
      await server.close();
    },
  };
}
