import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditLine } from '../../src/audit/record.js';
import { auditVerifyCommand } from '../../src/cli/audit-verify.js';
import { parseCertificate } from '../../src/x509/certificate.js';
import { createInstance, email, type Instance } from '../fault/server.js';
import { createRandom } from '../fuzz/random.js';
import { startLoad } from '../support/load.js';

/** A longer run: AUDIT_KILLS=500 npm test -- test/audit/kills */
const kills = Number(process.env.AUDIT_KILLS ?? '6');
const seed = process.env.SEED ?? String(Date.now());

test(
  `after ${kills} kills under load the trail agrees with the log entry for entry (SEED=${seed})`,
  async () => {
    const dir = mkdtempSync(join(tmpdir(), 'mayfly-audit-kills-'));
    const flags = [`--audit-log=${join(dir, 'audit.jsonl')}`, '--audit-max-size=256KiB'];
    const instance = await createInstance({ flags });
    const random = createRandom(seed);
    const returned = new Set<string>();
    try {
      const token = await instance.token();
      for (let kill = 0; kill < kills; kill++) {
        if (kill > 0 && random.chance(0.25)) {
          const starting = instance.spawn();
          await sleep(random.below(600));
          await starting.stop('SIGKILL');
          continue;
        }
        const server = await instance.start();
        const load = startLoad(instance.url, token, email, 16);
        while (load.received.length === 0) await sleep(10); // jest's own time limit ends it
        await sleep(random.below(250));
        await server.stop('SIGKILL');
        await load.stop();
        for (const [leaf] of load.received) if (leaf !== undefined) returned.add(serialOf(leaf));
      }
      await (await instance.start()).stop('SIGTERM');
      const files = readdirSync(dir)
        .filter((name) => !/\.(lock|head)$/.test(name))
        .map((name) => join(dir, name));
      expect(await verify(files, instance)).toEqual({ code: 0, problems: [] });
      expectEachIntentToEnd(files, returned);
    } finally {
      await instance.close();
      rmSync(dir, { recursive: true, force: true });
    }
  },
  kills * 5_000 + 60_000,
);

async function verify(files: readonly string[], { logDir, dataDir }: Instance) {
  const said: string[] = [];
  const io = { out: (t: string) => void said.push(t), err: () => {}, fetch, now: () => new Date(), interactive: false };
  const publicKey = [join(dataDir, 'trust', 'ctlog.pub.pem')];
  const code = await auditVerifyCommand(files, { ctlogDir: [logDir], publicKey, json: true }, io);
  return { code, problems: (JSON.parse(said.join('')) as { problems: unknown[] }).problems };
}

/** Every intent has one outcome, and every certificate that a client got has the outcome "issued". */
function expectEachIntentToEnd(files: readonly string[], returned: ReadonlySet<string>): void {
  const lines = files.flatMap((file) => readFileSync(file, 'utf8').split('\n').filter(Boolean)).flatMap(readWhole);
  const serials = (...events: string[]): string[] =>
    lines.flatMap(({ event, serial }) => (serial !== undefined && events.includes(event) ? [serial] : []));
  const ended = serials('issued', 'failed', 'reconciled');
  expect(new Set(ended).size).toBe(ended.length);
  expect(new Set(ended)).toEqual(new Set(serials('intent')));
  const issued = new Set(serials('issued'));
  expect([...returned].filter((serial) => !issued.has(serial))).toEqual([]);
  // A load that got nothing would prove nothing.
  expect(returned.size).toBeGreaterThan(0);
}

/** A kill leaves a line that was cut off. */
function readWhole(line: string): AuditLine[] {
  try {
    return [JSON.parse(line) as AuditLine];
  } catch {
    return [];
  }
}

function serialOf(leaf: Uint8Array): string {
  return Buffer.from(parseCertificate(leaf).serial).toString('hex');
}
