import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FulcioSigner, MessageSignatureBundleBuilder, TSAWitness } from '@sigstore/sign';
import { getTrustedRoot } from '@sigstore/tuf';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { mustRun, run, toolPath } from './command.js';
import { jane, startTufInstance, type TufInstance } from './tuf-instance.js';

/** A client that knows nothing but the mirror's URL and a root.json, with a trust cache of its own. */
interface Client {
  readonly name: string;
  readonly rekor: boolean;
  init(instance: TufInstance, home: Home, root: string): Promise<unknown>;
  /** Signs and verifies a file; no flag or file says what to trust. */
  use(instance: TufInstance, home: Home): Promise<unknown>;
}

/** A client's own directory. */
interface Home {
  readonly cwd: string;
  readonly env: Record<string, string>;
}

const noRekor = ['--use-signed-timestamps', '--insecure-ignore-tlog'];
const data = 'a file to sign\n';

/** cosign 2 has to be told where to sign, and in which format; what it believes it has from the mirror. */
function cosign(
  name: string,
  tool: string,
  signing: (url: string) => readonly string[],
  format: readonly string[],
): Client {
  return {
    name,
    rekor: false,
    init: ({ mirror }, home, root) => mustRun(toolPath(tool), ['initialize', '--mirror', mirror, '--root', root], home),
    async use({ issuer, ca }, home) {
      const token = await issuer.idToken(jane);
      const bundle = [...format, '--bundle', 'bundle.json'];
      const identity = ['--certificate-identity', jane, '--certificate-oidc-issuer', issuer.url];
      const sign = ['sign-blob', '--yes', '--identity-token', token, ...signing(ca.url), ...bundle, 'blob'];
      await mustRun(toolPath(tool), sign, home);
      await mustRun(toolPath(tool), ['verify-blob', ...bundle, ...identity, ...noRekor, 'blob'], home);
      const other = ['--certificate-identity', 'mallory@example.com', '--certificate-oidc-issuer', issuer.url];
      expect((await run(toolPath(tool), ['verify-blob', ...bundle, ...other, ...noRekor, 'blob'], home)).code).not.toBe(
        0,
      );
    },
  };
}

const sigstoreJs: Client = {
  name: 'sigstore-js',
  rekor: false,
  init: ({ mirror }, { cwd }, rootPath) => getTrustedRoot({ mirrorURL: mirror, rootPath, cachePath: cwd }),
  async use({ issuer, ca, mirror }, { cwd }) {
    const token = await issuer.idToken(jane);
    const signer = new FulcioSigner({ fulcioBaseURL: ca.url, identityProvider: { getToken: async () => token } });
    const witnesses = [new TSAWitness({ tsaBaseURL: ca.url })];
    const bundle = await new MessageSignatureBundleBuilder({ signer, witnesses }).create({ data: Buffer.from(data) });
    const trust = toTrustMaterial(await getTrustedRoot({ mirrorURL: mirror, cachePath: cwd }));
    const verifier = new Verifier(trust, { ctlogThreshold: 1, tlogThreshold: 0, timestampThreshold: 1 });
    const policy = { subjectAlternativeName: '^jane@example\\.com$', extensions: { issuer: issuer.url } };
    verifier.verify(toSignedEntity(bundle, Buffer.from(data)), policy);
  },
};

const sigstorePython: Client = {
  name: 'sigstore-python',
  rekor: true,
  init: ({ mirror }, home, root) =>
    mustRun(toolPath('venv/bin/sigstore'), ['--instance', mirror, 'trust-instance', root], home),
  async use({ issuer, mirror }, home) {
    const python = toolPath('venv/bin/sigstore');
    const [token, bundle] = [await issuer.idToken(jane), ['--bundle', 'bundle.json']];
    const sign = ['sign', '--identity-token', token, ...bundle, '--overwrite', 'blob'];
    await mustRun(python, ['--instance', mirror, ...sign], home);
    const identity = ['--cert-identity', jane, '--cert-oidc-issuer', issuer.url];
    await mustRun(python, ['--instance', mirror, 'verify', 'identity', ...bundle, ...identity, 'blob'], home);
  },
};

const clients: readonly Client[] = [
  cosign('cosign 3', 'bin/cosign', () => [], []),
  cosign(
    'cosign 2',
    'bin/cosign-v2',
    (url) => ['--fulcio-url', url, '--timestamp-server-url', `${url}/api/v1/timestamp`, '--tlog-upload=false'],
    ['--new-bundle-format'],
  ),
  sigstoreJs,
  sigstorePython,
];

describe.each([false, true])('a TUF repository of an instance with a Rekor beside it: %s', (rekor) => {
  let instance: TufInstance;
  beforeAll(async () => {
    instance = await startTufInstance(rekor);
  });
  afterAll(() => instance?.close());

  test.each(clients.filter((client) => client.rekor === rekor).map((client) => [client.name, client] as const))(
    '%s trusts it from one root.json on, today, after new keys and after a new root',
    async (name, client) => {
      const home = await homeOf(instance, name);
      await client.init(instance, home, instance.firstRoot);
      await client.use(instance, home);
      for (const role of ['timestamp', 'snapshot', 'targets']) await instance.tuf('rotate-key', role);
      await client.use(instance, home);
      await instance.tuf('rotate-key', 'root');
      await client.use(instance, home);
      // A client that comes late, with the root of the first day.
      const late = await homeOf(instance, `${name} late`);
      await client.init(instance, late, instance.firstRoot);
      await client.use(instance, late);
    },
  );

  test('sigstore-python takes the instance, with a Rekor or without', async () => {
    await sigstorePython.init(instance, await homeOf(instance, 'python'), instance.firstRoot);
  });

  test('a root of another repository leads nowhere', async () => {
    const home = await homeOf(instance, 'stranger');
    const other = join(home.cwd, 'other');
    await instance.tuf('init', '--tuf-dir', other, '--keys-dir', `${other}-keys`, '--offline-dir', `${other}-offline`);
    const args = ['initialize', '--mirror', instance.mirror, '--root', join(other, '1.root.json')];
    const finished = await run(toolPath('bin/cosign'), args, home);
    expect(`${finished.stdout}${finished.stderr}`).toMatch(/Could not fetch trusted_root.json/);
  });

  test('nothing that changes is kept by a cache, and everything else for ever', async () => {
    const caching = async (path: string) => (await fetch(`${instance.mirror}/${path}`)).headers.get('cache-control');
    expect(await caching('timestamp.json')).toBe('no-store');
    expect(await caching('root.json')).toBe('no-store');
    expect(await caching('999.root.json')).toBe('no-store');
    expect(await caching('1.root.json')).toContain('immutable');
    const secret = await fetch(`${instance.mirror}/..%2fkeys%2fca%2fkey.pem`);
    expect(secret.status).toBe(404);
  });
});

async function homeOf({ dir }: TufInstance, name: string): Promise<Home> {
  const cwd = join(dir, name.replaceAll(' ', '-'));
  await mkdir(cwd, { recursive: true });
  await writeFile(join(cwd, 'blob'), data);
  return { cwd, env: { TUF_ROOT: join(cwd, 'tuf-root') } };
}
