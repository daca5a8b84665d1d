import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startIssuer } from '../support/issuer.js';
import { type CaServer, emailIssuerConfig, startCa } from './ca-server.js';
import { type Finished, mustRun, run, toolPath } from './command.js';
import { type Lab, openLab } from './lab.js';
import { makeCa, makeKeyPair } from './openssl-ca.js';
import { requestV1 } from './v1-client.js';

const jane = 'jane@example.com';

let lab: Lab;
let ca: CaServer;

beforeAll(async () => {
  lab = await openLab();
  const issuer = lab.keep(await startIssuer({ alg: 'ES256' }));
  const files = await makeCa(lab.dir, 'P-256', 'with intermediate');
  ca = lab.keep(await startCa({ dir: join(lab.dir, 'ca'), config: emailIssuerConfig(issuer.url), files, log: true }));
  const token = await issuer.token({ sub: 'account-4711', email: jane, email_verified: true });
  for (let i = 0; i < 3; i += 1) expect((await requestV1(ca.url, token, jane, 'as gitsign')).status).toBe(201);
});
afterAll(() => lab.close());

const argumentsOf = (command: string, more: readonly string[]): string[] => [
  command,
  '--log_uri',
  `${ca.url}/ctlog`,
  '--pub_key',
  join(ca.trustDir, 'ctlog.pub.pem'),
  ...more,
];

/** Runs ctclient against the log, with the log's key: it checks every signature and proof itself. Its output, both streams. */
async function ctclient(command: string, ...more: string[]): Promise<string> {
  const { stdout, stderr } = await mustRun(toolPath('bin/ctclient'), argumentsOf(command, more), { cwd: lab.dir });
  return stdout + stderr;
}

function refused(command: string, ...more: string[]): Promise<Finished> {
  return run(toolPath('bin/ctclient'), argumentsOf(command, more), { cwd: lab.dir });
}

interface TreeHead {
  readonly size: number;
  readonly root: string;
}

async function treeHead(): Promise<TreeHead> {
  const text = await ctclient('get-sth');
  const [, size, root] = /Got STH .*size=(\d+)\) .*, hash ([0-9a-f]{64})/s.exec(text) ?? [];
  if (size === undefined || root === undefined) throw new Error(`no tree head in:\n${text}`);
  return { size: Number(size), root };
}

/** A chain as PEM whose first certificate the CA's key signed with openssl, with these extensions. */
async function signed(name: string, extensions: string): Promise<string> {
  const { dir } = lab;
  const openssl = (...args: string[]) => mustRun('openssl', args, { cwd: dir });
  await makeKeyPair(dir, 'P-256', name);
  await writeFile(join(dir, `${name}.cnf`), `[leaf]\n${extensions}\n`);
  await openssl('req', '-new', '-config', 'ca.cnf', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-out', 'leaf.csr');
  const signer = ['-CA', 'intermediate.pem', '-CAkey', 'intermediate.key', '-CAcreateserial', '-days', '1'];
  const profile = ['-extfile', `${name}.cnf`, '-extensions', 'leaf', '-out', `${name}.pem`];
  await openssl('x509', '-req', '-in', 'leaf.csr', ...signer, ...profile);
  const path = join(dir, `${name}.pem`);
  await appendFile(path, await readFile(join(dir, 'chain.pem')));
  return path;
}

const codeSigning = 'extendedKeyUsage = codeSigning';
const poison = '1.3.6.1.4.1.11129.2.4.3 = critical, ASN1:NULL';

interface Uploaded {
  readonly timestamp: string;
  readonly leafHash: string;
  /** Hexadecimal, as ctclient prints it. */
  readonly extensions: string;
}

/** Submits a chain; ctclient checks the SCT with the log's key and computes the leaf hash. */
async function upload(chainPath: string): Promise<Uploaded> {
  const text = await ctclient('upload', '--cert_chain', chainPath);
  const pattern = /timestamp: (\d+) .*LeafHash: ([0-9a-f]{64})\nExtensions: ([0-9a-f]+)/s;
  const [, timestamp, leafHash, extensions] = pattern.exec(text) ?? [];
  if (timestamp === undefined || leafHash === undefined || extensions === undefined) throw new Error(text);
  return { timestamp, leafHash, extensions };
}

test('get-sth verifies the tree head of the certificates that were issued', async () => {
  expect((await treeHead()).size).toBe(3);
});

test('get-entries shows the precertificates', async () => {
  const text = await ctclient('get-entries', '--first', '0', '--last', '2');
  expect(text.match(/Index=\d+/g)).toEqual(['Index=0', 'Index=1', 'Index=2']);
  expect(text.match(new RegExp(`email:${jane}`, 'g'))).toHaveLength(3);
});

test('get-roots gives the root of the CA', async () => {
  expect(await ctclient('get-roots')).toContain('CN=Interop P-256 root');
});

test.each([
  ['precertificate', 'pre', `${codeSigning}\n${poison}`],
  ['certificate', 'final', codeSigning],
])('upload logs a %s and its inclusion is proved by hash and by chain', async (_, name, extensions) => {
  const before = await treeHead();
  const chainPath = await signed(name, extensions);
  const first = await upload(chainPath);
  expect(await upload(chainPath)).toEqual(first);
  const after = await treeHead();
  expect(after.size).toBe(before.size + 1);

  const { leafHash, timestamp } = first;
  const proved = `Verified that hash ${leafHash} + proof = root hash ${after.root}`;
  expect(await ctclient('get-inclusion-proof', '--leaf_hash', leafHash)).toContain(proved);
  const fromSct = ['--cert_chain', chainPath, '--timestamp', timestamp, '--extensions', first.extensions];
  expect(await ctclient('get-inclusion-proof', ...fromSct)).toContain(proved);

  const index = String(before.size);
  expect(await ctclient('get-entries', '--first', index, '--last', index, '--chain')).toContain(`CN=${name}`);
  const heads = ['--prev_size', `${before.size}`, '--prev_hash', before.root];
  heads.push('--size', `${after.size}`, '--tree_hash', after.root);
  expect(await ctclient('get-consistency-proof', ...heads)).toContain(
    `Verified that hash ${before.root} @${before.size} + proof = hash ${after.root} @${after.size}`,
  );
});

test('upload of a chain that another CA made is refused with the reason', async () => {
  const dir = join(lab.dir, 'other');
  await mkdir(dir);
  const { chainPath } = await makeCa(dir, 'P-256', 'with intermediate');
  const { code, stdout, stderr } = await refused('upload', '--cert_chain', chainPath);
  expect(code).not.toBe(0);
  expect(stdout + stderr).toContain('not issued by a certificate authority that this log serves');
});
