import { createHash, createPublicKey } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { embeddedScts, signedPrecertOf } from '../../src/cli/verify-certificate-fields.js';
import { encodeMerkleTreeLeaf, encodeTimestampedEntry } from '../../src/ct/leaf.js';
import { decodeLeafIndex } from '../../src/ct/leaf-index.js';
import { type CheckedLog, checkLog } from '../../src/ctlog/check.js';
import { openCheckpoint, type SignedTreeHead } from '../../src/ctlog/checkpoint.js';
import { verifyInclusion } from '../../src/ctlog/merkle.js';
import { freePort, type RunningServer, startServer } from '../interop/server-process.js';
import { startIssuer, type TestIssuer } from '../support/issuer.js';
import { type Received, startLoad } from '../support/load.js';

const kills = Number(process.env.KILLS ?? '20');
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
const clients = 16;
const main = resolve(import.meta.dirname, '../../dist/main.js');

/** mulberry32: the moments of the kills, the same for the same seed. */
function randomOf(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const sha256 = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** RFC 6962 Section 2.1, as it is written there. */
function treeHash(leaves: readonly Uint8Array[]): Buffer {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return sha256(Buffer.of(0), leaves[0] ?? Buffer.of());
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return sha256(Buffer.of(1), treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)));
}

describe(`${kills} kills under ${clients} concurrent clients (SEED=${seed}, KILLS=${kills})`, () => {
  const dir = mkdtempSync(join(tmpdir(), 'mayfly-kill-'));
  const dataDir = join(dir, 'data');
  let issuer: TestIssuer;
  let server: RunningServer | undefined;
  let url = '';
  const args: string[] = [];

  beforeAll(async () => {
    expect(existsSync(main)).toBe(true); // npm run build
    issuer = await startIssuer({ alg: 'ES256' });
    const [port, grpcPort, metricsPort] = await Promise.all([freePort(), freePort(), freePort()]);
    url = `http://127.0.0.1:${port}`;
    const config = join(dir, 'identity.yaml');
    writeFileSync(
      config,
      JSON.stringify({ OIDCIssuers: { [issuer.url]: { IssuerURL: issuer.url, ClientID: 'sigstore', Type: 'email' } } }),
    );
    args.push(main, 'serve', '--host', '127.0.0.1', '--grpc-host', '127.0.0.1', '--port', `${port}`);
    args.push('--grpc-port', `${grpcPort}`, '--metrics-port', `${metricsPort}`, '--data-dir', dataDir);
    args.push('--config-path', config, '--log-level', 'warn');
  });

  afterAll(async () => {
    await server?.close();
    await issuer.close();
    await rm(dir, { recursive: true, force: true });
  });

  const start = (): Promise<RunningServer> =>
    startServer({ name: 'mayfly', command: process.execPath, args, cwd: dir, readyUrl: `${url}/readyz` });
  const logKey = () => createPublicKey(readFileSync(join(dataDir, 'trust', 'ctlog.pub.pem')));
  const origin = () => `${url.replace('http://', '')}/ctlog`;
  const head = async (): Promise<SignedTreeHead> => {
    const response = await fetch(`${url}/ctlog/checkpoint`);
    return openCheckpoint(new Uint8Array(await response.arrayBuffer()), { origin: origin(), logKey: logKey() });
  };

  test(
    'every certificate that left is in the log at the index its SCT carries, and no tree head is taken back',
    async () => {
      const random = randomOf(seed);
      const token = await issuer.token({ email: 'jane@example.com', email_verified: true });
      const received: Received[] = [];
      const heads: SignedTreeHead[] = [];
      for (let round = 0; round < kills; round++) {
        server = await start();
        heads.push(await head());
        const load = startLoad(url, token, 'jane@example.com', clients);
        const watch = setInterval(
          () =>
            head().then(
              (seen) => heads.push(seen),
              () => undefined,
            ),
          20,
        );
        await new Promise((done) => setTimeout(done, 30 + random() * 400));
        process.kill(server.pid, 'SIGKILL');
        clearInterval(watch);
        await load.stop();
        await server.close();
        received.push(...load.received);
      }
      server = await start();
      const last = await head();
      const log = await checkLog(join(dataDir, 'ctlog'), logKey(), origin());
      expect(log.size).toBe(last.size);
      expect(received.length).toBeGreaterThan(kills);
      const hashes = leafHashes(log);
      for (const chain of received) expectLogged(chain, log, hashes);
      for (const chain of [received[0], received.at(-1)]) await expectProof(chain, hashes, last);
      expectConsistent(heads, last, log);
      process.stdout.write(
        `kill test: ${kills} kills, seed ${seed}: ${received.length} certificates received, log size ${log.size}, ${heads.length} tree heads seen\n`,
      );
    },
    kills * 10_000 + 60_000,
  );

  const leafBytes = (log: CheckedLog): Uint8Array[] =>
    log.leaves.map(({ entry }) => encodeMerkleTreeLeaf(encodeTimestampedEntry(entry)));
  const leafHashes = (log: CheckedLog): string[] =>
    leafBytes(log).map((leaf) => sha256(Buffer.of(0), leaf).toString('base64'));

  function expectLogged([leaf, caCertificate]: Received, log: CheckedLog, hashes: readonly string[]): void {
    if (leaf === undefined || caCertificate === undefined) throw new Error('the answer had no chain');
    expect(hashes[indexOf(leaf)]).toBe(expectedHash(leaf, caCertificate));
    expect(indexOf(leaf)).toBeLessThan(log.size);
  }

  function indexOf(leaf: Uint8Array): number {
    const index = decodeLeafIndex(embeddedScts(leaf)[0]?.extensions ?? new Uint8Array());
    if (index === undefined) throw new Error('the SCT carries no leaf index');
    return index;
  }

  function expectedHash(leaf: Uint8Array, caCertificate: Uint8Array): string {
    const [sct] = embeddedScts(leaf);
    if (sct === undefined) throw new Error('the certificate carries no SCT');
    const { tbs, issuerKeyHash } = signedPrecertOf(leaf, caCertificate);
    const entry = {
      timestamp: sct.timestamp,
      entry: { type: 'precert', issuerKeyHash, tbs },
      extensions: sct.extensions,
    } as const;
    return sha256(Buffer.of(0), encodeMerkleTreeLeaf(encodeTimestampedEntry(entry))).toString('base64');
  }

  async function expectProof(
    chain: Received | undefined,
    hashes: readonly string[],
    last: SignedTreeHead,
  ): Promise<void> {
    const leaf = chain?.[0];
    if (leaf === undefined) throw new Error('nothing was received');
    const hash = hashes[indexOf(leaf)] ?? '';
    const query = `hash=${encodeURIComponent(hash)}&tree_size=${last.size}`;
    const response = await fetch(`${url}/ctlog/ct/v1/get-proof-by-hash?${query}`);
    const proof = (await response.json()) as { leaf_index: number; audit_path: string[] };
    const path = proof.audit_path.map((node) => Buffer.from(node, 'base64'));
    expect(verifyInclusion(proof.leaf_index, last.size, Buffer.from(hash, 'base64'), path, last.root)).toBe(true);
  }

  /** Each head that anybody saw must be the root of the first `size` leaves of the log as it is now. */
  function expectConsistent(seen: readonly SignedTreeHead[], last: SignedTreeHead, log: CheckedLog): void {
    const leaves = leafBytes(log);
    let before = { size: 0, timestamp: 0 };
    const unique = new Map(seen.map((one) => [`${one.size}:${Buffer.from(one.root).toString('hex')}`, one]));
    for (const one of [...unique.values()].sort((a, b) => a.timestamp - b.timestamp)) {
      expect(one.size).toBeGreaterThanOrEqual(before.size);
      expect(one.size).toBeLessThanOrEqual(last.size);
      expect(Buffer.from(one.root).equals(treeHash(leaves.slice(0, one.size)))).toBe(true);
      before = one;
    }
  }
});
