import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { freePort } from './server-process.js';

const minutes = 60_000;
/** What is left of 200 MB beside Node 24 (127 MB) and the libraries of Debian in the distroless base. */
const imageBudgetBytes = 48_000_000;
const npmQuietly = ['--prefer-offline', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];

let lab: Lab;

beforeAll(async () => {
  lab = await openLab();
});

afterAll(() => lab.close());

/** npm with the cache of whoever runs the tests; its own settings stay out. */
function npm(cwd: string, ...args: string[]) {
  const home = process.env.HOME ?? cwd;
  return mustRun('npm', [...args, ...npmQuietly], { cwd, env: { HOME: home }, timeoutMs: 4 * minutes });
}

const bill = z.looseObject({
  bomFormat: z.literal('CycloneDX'),
  metadata: z.looseObject({ component: z.looseObject({ name: z.string(), version: z.string() }) }),
  components: z.array(
    z.looseObject({
      name: z.string(),
      purl: z.string(),
      // The schema wants a URL; git's own form git@host:path is none.
      externalReferences: z.array(z.looseObject({ url: z.url() })).default([]),
    }),
  ),
});

describe('the image', () => {
  let tree: string;

  test('has a Dockerfile that hadolint finds nothing in', async () => {
    const linted = await run(toolPath('packaging-venv/bin/hadolint'), [join(projectDir, 'Dockerfile')], {
      cwd: lab.dir,
    });
    expect(linted).toMatchObject({ code: 0, stdout: '' });
  });

  test(
    'is built by steps that leave a tree of its size, with a bill of materials of what is in it',
    async () => {
      tree = join(lab.dir, 'image');
      await mkdir(tree);
      for (const name of ['package.json', 'package-lock.json', 'packaging', 'config', 'dist']) {
        await cp(join(projectDir, name), join(tree, name), { recursive: true });
      }
      // The image's build has the development packages, for the compiler; here they would only cost time.
      await npm(tree, 'ci', '--omit=dev', '--ignore-scripts');
      await mustRun(process.execPath, ['packaging/runtime-manifest.mjs'], { cwd: tree });
      await npm(tree, 'prune', '--ignore-scripts');
      await mustRun(process.execPath, ['packaging/sbom.mjs'], { cwd: tree });
      await mustRun('sh', ['packaging/slim.sh', '.'], { cwd: tree });

      const { stdout } = await mustRun('du', ['-s', '-b', 'node_modules', 'dist', 'config'], { cwd: tree });
      const bytes = stdout
        .trim()
        .split('\n')
        .reduce((sum, line) => sum + Number.parseInt(line, 10), 0);
      expect(bytes).toBeLessThan(imageBudgetBytes);
      const sbom = bill.parse(JSON.parse(await readFile(join(tree, 'dist/sbom.cdx.json'), 'utf8')));
      expect(sbom.metadata.component.name).toBe('mayfly');
      const names = sbom.components.map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(['express', 'lmdb', 'jose']));
      expect(names.filter((name) => /^jest$|^oidc-provider$|^@aws-sdk|^@azure|^@google-cloud/.test(name))).toEqual([]);
    },
    4 * minutes,
  );

  test('runs as another user who may write nothing but the data directory, and answers its health check', async () => {
    const data = join(lab.dir, 'image-data');
    const config = join(lab.dir, 'identity.yaml');
    await mkdir(data);
    await writeFile(config, 'oidc-issuers: {}\n');
    const port = `${await freePort()}`;
    const script = `
      node dist/main.js serve --data-dir ${data} --config-path ${config} --host 127.0.0.1 --grpc-port 0 --metrics-port 0 &
      server=$!
      trap 'kill $server; wait $server' EXIT
      for attempt in $(seq 100); do node packaging/healthcheck.mjs && exit 0; sleep 0.2; done
      exit 1`;
    const env = { FULCIO_SERVE_PORT: port, HOME: '/nonexistent', TMPDIR: '/nonexistent' };
    const root = process.getuid?.() === 0;
    if (root) await mustRun('sh', ['-c', `chown -R 65532:65532 ${data} && chmod 755 ${lab.dir}`], { cwd: lab.dir });
    const asOther = ['--reuid', '65532', '--regid', '65532', '--clear-groups', '--no-new-privs', '--bounding-set=-all'];
    const [command, ...args] = root ? ['setpriv', ...asOther, 'sh', '-c', script] : ['sh', '-c', script];
    const { code, stdout, stderr } = await run(command ?? 'sh', args, { cwd: tree, env });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('"mayfly is running but NOT ready"');
    expect((await run(process.execPath, ['packaging/healthcheck.mjs'], { cwd: tree, env })).code).toBe(1);
  });
});

describe('the npm package', () => {
  let files: readonly string[];
  let tarball: string;

  beforeAll(async () => {
    const packed = await mustRun('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', lab.dir], {
      cwd: projectDir,
    });
    const report = z.looseObject({ filename: z.string(), files: z.array(z.looseObject({ path: z.string() })) });
    // npm 11 prints a list, and an object by name from 12 on.
    const [first] = Object.values(
      z.union([z.array(report), z.record(z.string(), report)]).parse(JSON.parse(packed.stdout)),
    );
    files = first?.files.map(({ path }) => path) ?? [];
    tarball = join(lab.dir, first?.filename ?? '');
  }, 2 * minutes);

  test('ships the built program, examples and the service, and neither tests nor keys', () => {
    expect(files).toEqual(
      expect.arrayContaining([
        'dist/main.js',
        'config/example.yaml',
        'packaging/mayfly.service',
        'LICENSE',
        'README.md',
      ]),
    );
    const places = new Set(files.map((path) => path.split('/')[0]));
    expect([...places].sort()).toEqual(
      [
        ...['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'package.json'],
        ...['certs', 'config', 'dist', 'docs', 'packaging'],
      ].sort(),
    );
    expect(files.filter((path) => /\.(test\.\w+|pem|key|p12|env\.local|log)$|(^|\/)data\//.test(path))).toEqual([]);
  });

  test(
    'installs as the command mayfly, which serves a first certificate with nothing else installed',
    async () => {
      const prefix = join(lab.dir, 'prefix');
      const home = join(lab.dir, 'user');
      await mkdir(prefix);
      await mkdir(home);
      const { version } = z
        .looseObject({ version: z.string() })
        .parse(JSON.parse(await readFile(join(projectDir, 'package.json'), 'utf8')));
      // Nothing is compiled: what it needs comes compiled, but for pkcs11js.
      await npm(prefix, 'install', '--global', '--prefix', prefix, '--ignore-scripts', tarball);
      const mayfly = join(prefix, 'bin/mayfly');
      expect((await mustRun(mayfly, ['--version'], { cwd: home })).stdout.trim()).toBe(version);
      const { stdout } = await mustRun(mayfly, ['quickstart', '--once'], { cwd: home, timeoutMs: minutes });
      expect(stdout).toContain('jane@example.com');
    },
    5 * minutes,
  );
});

describe('the systemd unit', () => {
  test('is one that systemd understands, and leaves little exposed', async () => {
    const unit = await readFile(join(projectDir, 'packaging/mayfly.service'), 'utf8');
    // The command is not installed on this machine.
    const file = join(lab.dir, 'mayfly.service');
    await writeFile(file, unit.replace('ExecStart=/usr/bin/mayfly ', 'ExecStart=/bin/true '));
    const verified = await run('systemd-analyze', ['verify', file], { cwd: lab.dir });
    expect(verified).toMatchObject({ code: 0, stdout: '', stderr: '' });
    const secure = ['security', '--offline=yes', '--threshold=15', '--no-pager', file];
    await mustRun('systemd-analyze', secure, { cwd: lab.dir });
  });
});
