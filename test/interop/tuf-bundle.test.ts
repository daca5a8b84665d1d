import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { mustRun, projectDir, run, toolPath } from './command.js';
import { jane, startTufInstance, type TufInstance } from './tuf-instance.js';

/** The commands of one section of the README, in order, each on one line. */
function commandsIn(readme: string, heading: string): readonly string[] {
  const section = readme.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';
  return section
    .replaceAll(/ \\\n\s+/g, ' ')
    .split('\n')
    .flatMap((line) => (line.startsWith('    ') ? [line.trim()] : []));
}

const tools: Readonly<Record<string, string>> = {
  'cosign 3': 'bin/cosign',
  'cosign 2': 'bin/cosign-v2',
  'sigstore-python': 'venv/bin/sigstore',
};

describe.each([
  { rekor: false, clients: ['cosign 3', 'cosign 2'] },
  // cosign takes the host of its URL for a Rekor's origin, and the one of these tests has another.
  { rekor: true, clients: ['sigstore-python'] },
])('the bundle of an instance with a Rekor beside it: $rekor', ({ rekor, clients }) => {
  let instance: TufInstance;
  let unpacked: string;
  let readme: string;

  beforeAll(async () => {
    instance = await startTufInstance(rekor);
    const out = join(instance.dir, 'mayfly-trust.tar');
    await instance.trust('bundle', ...instance.settings, '--out', out);
    const client = join(instance.dir, 'client');
    await mkdir(client);
    await mustRun('tar', ['xf', out], { cwd: client });
    unpacked = join(client, 'mayfly-trust');
    readme = await readFile(join(unpacked, 'README.md'), 'utf8');
  });
  afterAll(() => instance?.close());

  test('unpacks to what its check sums say, and is made of the same bytes each time', async () => {
    await mustRun('sha256sum', ['-c', 'SHA256SUMS'], { cwd: unpacked });
    const again = join(instance.dir, 'again.tar');
    await instance.trust('bundle', ...instance.settings, '--out', again);
    expect(await readFile(again)).toEqual(await readFile(join(instance.dir, 'mayfly-trust.tar')));
  });

  test.each(clients)('%s signs and verifies by the commands in it as they stand', async (client) => {
    const home = join(instance.dir, client.replaceAll(' ', '-'));
    await mkdir(join(home, 'bin'), { recursive: true });
    const [first = ''] = client.split(' ');
    const command = first === 'sigstore-python' ? 'sigstore' : first;
    await mustRun('ln', ['-s', toolPath(tools[client] ?? ''), join(home, 'bin', command)], { cwd: home });
    await writeFile(join(unpacked, 'FILE'), `signed by ${client}\n`);
    const env = { PATH: `${join(home, 'bin')}:${process.env.PATH}`, HOME: home };
    const [sign = '', verify = ''] = commandsIn(readme, client);
    const token = await instance.issuer.idToken(jane);
    // A test is a machine without a browser.
    const withToken = sign.replace(/(sign-blob|sign) /, `$1 --identity-token ${token} `);
    await mustRun('sh', ['-c', withToken], { cwd: unpacked, env });
    await mustRun('sh', ['-c', verify], { cwd: unpacked, env });
    const mallory = verify.replace(jane, 'mallory@example.com');
    expect((await run('sh', ['-c', mallory], { cwd: unpacked, env })).code).not.toBe(0);
    await mustRun('rm', ['FILE.sigstore.json'], { cwd: unpacked });
  });

  test('sigstore-js verifies by the program in it', async () => {
    if (rekor) return;
    await writeFile(join(unpacked, 'FILE'), 'signed for sigstore-js\n');
    const [sign = ''] = commandsIn(readme, 'cosign 3');
    const token = await instance.issuer.idToken(jane);
    const env = { PATH: `${resolve(toolPath('bin/cosign'), '..')}:${process.env.PATH}` };
    await mustRun('sh', ['-c', `${sign} --identity-token ${token}`], { cwd: unpacked, env });
    await mustRun('ln', ['-sfn', join(projectDir, 'node_modules'), 'node_modules'], { cwd: unpacked });
    await writeFile(join(unpacked, 'verify.mjs'), commandsIn(readme, 'sigstore-js').join('\n'));
    await mustRun(process.execPath, ['verify.mjs'], { cwd: unpacked });
    await writeFile(join(unpacked, 'FILE'), 'changed\n');
    expect((await run(process.execPath, ['verify.mjs'], { cwd: unpacked })).code).not.toBe(0);
    await mustRun('rm', ['FILE.sigstore.json'], { cwd: unpacked });
  });
});
