import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeCa } from '../test/interop/openssl-ca.js';
import { startBenchIssuer, writeCorpus } from './lib/corpus.js';
import { measure } from './lib/measure.js';
import { startFulcio, startMayfly } from './lib/targets.js';

const main = process.env.MAIN ?? 'dist/main.js';
const node = process.env.NODE_BIN ?? process.execPath;
mkdirSync('.cache', { recursive: true });
const dir = mkdtempSync(join(resolve(process.env.DIR ?? '.cache'), 'bench-'));
const ca = await makeCa(dir, (process.env.CURVE ?? 'P-256') as 'P-256', 'with intermediate');
const issuer = await startBenchIssuer('RS256');
const corpus = join(dir, 'corpus');
const t0 = Date.now();
await writeCorpus({ issuer, api: 'v2', form: 'key', count: Number(process.env.COUNT ?? 20000), path: corpus });
console.log('corpus', Date.now() - t0);
const secs = Number(process.env.SECS ?? 5);
const conns = (process.env.CONNS ?? '1,64').split(',').map(Number);
for (let i = 0; i < Number(process.env.ROUNDS ?? 2); i++) {
  for (const which of (process.env.WHICH ?? 'mayfly,fulcio').split(',')) {
    const directory = join(dir, `${which}${i}`);
    const o = { directory, ca, issuerUrl: issuer.url };
    const t =
      which === 'mayfly'
        ? await startMayfly({ ...o, main, node, flags: (process.env.FLAGS ?? '').split(' ').filter(Boolean) })
        : await startFulcio({ ...o, program: process.env.FULCIO ?? '/root/go/bin/fulcio' });
    await measure(t, { api: 'v2', corpus, connections: 16, seconds: 2 });
    for (const connections of conns) {
      const m = await measure(t, { api: 'v2', corpus, connections, seconds: secs });
      console.log(
        which,
        connections,
        `${m.certificatesPerSecond.toFixed(0)}/s p50 ${m.p50} p99 ${m.p99} cpu ${m.cpuMsPerCertificate.toFixed(3)}ms rss ${m.rssMb.toFixed(0)} failed ${m.failed} lag ${m.eventLoopLagMs}`,
      );
    }
    await t.close();
  }
}
await issuer.close();
rmSync(dir, { recursive: true, force: true });
