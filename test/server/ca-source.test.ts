import { randomBytes } from 'node:crypto';
import { Registry } from 'prom-client';
import type { CertificateAuthority } from '../../src/ca/authority.js';
import { loadChain } from '../../src/ca/chain.js';
import { createRoot } from '../../src/ca/create.js';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { createExpiryWarnings } from '../../src/server/ca-expiry.js';
import { externalPlace } from '../../src/server/ca-place.js';
import { type CaSource, openCaSource } from '../../src/server/ca-source.js';
import { acceptedChains, type CaView, trustBundleOf } from '../../src/server/ca-view.js';
import { encodePem } from '../../src/x509/pem.js';
import { eventually } from './lab.js';

const now = Date.parse('2026-06-01T12:00:00Z');
const dayMs = 86_400_000;

/** A root that issues leaves itself, and whether its key is still open. */
interface TestCa extends CertificateAuthority {
  isOpen: boolean;
}

async function newCa(commonName: string, lifetimeDays = 100): Promise<TestCa> {
  const root = await createRoot({
    organization: 'lab',
    commonName,
    curve: 'P-256',
    now,
    lifetimeDays,
    random: randomBytes,
  });
  const signer = createKeySigner(root.privateKey);
  const ca: TestCa = {
    ...loadChain(encodePem('CERTIFICATE', root.certificate), signer, now),
    isOpen: true,
    signer: {
      ...signer,
      async close() {
        ca.isOpen = false;
      },
    },
  };
  return ca;
}

/** A source whose CA the test replaces, and requests that the test ends. */
async function openLab(first: TestCa) {
  const lines: string[] = [];
  const say = (entry: unknown, text?: string) => void lines.push(text ?? String(entry));
  const logger = { info: say, warn: say, error: say } as unknown as Parameters<typeof openCaSource>[1]['logger'];
  const registry = new Registry();
  let answer: () => Promise<CertificateAuthority> = async () => first;
  let endRequests: () => void = () => undefined;
  const requests = new Promise<void>((resolve) => {
    endRequests = resolve;
  });
  const external = { open: () => answer(), files: [], watch: false };
  const place = externalPlace(undefined, external, { clock: () => now, lifetimeMs: 600_000 });
  const source = await openCaSource(place, {
    logger,
    metrics: { registry },
    clock: () => now,
    settled: () => requests,
  });
  return {
    source,
    lines,
    registry,
    open(next: () => Promise<CertificateAuthority>) {
      answer = next;
      return source.reload('test');
    },
    endRequests,
    close() {
      endRequests();
      return source.close();
    },
  };
}

const states = (source: CaSource) => source.view().published.map(({ state }) => state);

test('another CA becomes active, and the old key is closed when the last request that may use it is done', async () => {
  const [a, b] = [await newCa('a'), await newCa('b')];
  const { source, open, endRequests } = await openLab(a);
  const snapshot = source.current();
  const seen: CertificateAuthority[] = [];
  source.onChange((active) => void seen.push(active));
  await open(async () => b);
  expect([source.current().subjectName, seen[0]?.subjectName]).toEqual([b.subjectName, b.subjectName]);
  expect(states(source)).toEqual(['active', 'former']);
  expect([a.isOpen, b.isOpen]).toEqual([true, true]);
  await expect(snapshot.signer.sign(Buffer.from('late'))).resolves.toBeDefined();
  endRequests();
  await eventually(() => states(source).includes('retired'));
  expect(a.isOpen).toBe(false);
  // Five minutes for replicas that see the change later, and one lifetime.
  expect(source.view().published[1]?.end).toEqual(new Date(now + 15 * 60_000));
  await source.close();
  expect(b.isOpen).toBe(false);
});

test('a key that is the same keeps the one that is open', async () => {
  const a = await newCa('a');
  const { source, open } = await openLab(a);
  const before = source.current();
  let closed = 0;
  await open(async () => ({ ...a, signer: { ...a.signer, close: async () => void closed++ } }));
  expect(source.current()).toBe(before);
  expect([closed, a.isOpen]).toEqual([1, true]);
  await source.close();
});

test('a CA that cannot be opened leaves the old one in force, says so once, and counts it', async () => {
  const { source, open, close, lines, registry } = await openLab(await newCa('a'));
  const before = source.current();
  const fail = () => Promise.reject(new Error('the pair does not match'));
  await open(fail);
  await open(fail);
  expect(source.current()).toBe(before);
  expect(source.refusal()).toBe('the pair does not match');
  expect(lines).toEqual(['change of the certificate authority refused, the old one stays: the pair does not match']);
  expect(await registry.metrics()).toContain('mayfly_ca_reloads_total{result="refused"} 1');
  const good = await newCa('b');
  await open(async () => good);
  expect(source.refusal()).toBeUndefined();
  expect(source.current().subjectName).toEqual(good.subjectName);
  await close();
});

test('a key that makes wrong signatures never becomes active', async () => {
  const { source, open } = await openLab(await newCa('a'));
  const liar = await newCa('b');
  await open(async () => ({ ...liar, signer: { ...liar.signer, sign: async () => new Uint8Array(70) } }));
  expect(source.refusal()).toMatch('failed its self-test');
  expect(liar.isOpen).toBe(false);
  await source.close();
});

test('clients hear of a CA before it issues, and when they cannot be told it does not', async () => {
  const { source, open, close } = await openLab(await newCa('a'));
  const before = source.current();
  const told: (readonly [string[], boolean])[] = [];
  let isDiskFull = false;
  await source.beforeChange(async (view: CaView) => {
    if (isDiskFull) throw new Error('the disk is full');
    told.push([view.published.map(({ state }) => state), source.current() === before]);
  });
  isDiskFull = true;
  const b = await newCa('b');
  await open(async () => b);
  expect(source.current()).toBe(before);
  expect(source.refusal()).toBe('the disk is full');
  isDiskFull = false;
  const again = await newCa('c');
  await open(async () => again);
  expect(told).toEqual([
    [['active'], true],
    [['active', 'former', 'former'], true],
  ]);
  expect(source.current()).not.toBe(before);
  await close();
});

test('the trust bundle has the active CA first and no retired one; the log takes those until they have ended', async () => {
  const chainOf = (name: string) => ({ chain: [Buffer.from(name)], chainPem: [name] });
  const rest = { fingerprint: '', notBefore: new Date(0), notAfter: new Date(0) };
  const view = {
    active: await newCa('a'),
    published: [
      { ...rest, ...chainOf('active'), name: 'a', state: 'active' },
      { ...rest, ...chainOf('next'), name: 'n', state: 'next' },
      { ...rest, ...chainOf('former'), name: 'f', state: 'former' },
      { ...rest, ...chainOf('retired'), name: 'r', state: 'retired', end: new Date(now) },
    ],
  } satisfies CaView;
  expect(trustBundleOf(view)).toEqual([['active'], ['next'], ['former']]);
  expect(acceptedChains(view, now - 1)).toHaveLength(4);
  expect(acceptedChains(view, now)).toHaveLength(3);
});

test('a promotion that comes due while a look goes on has the next look at once', async () => {
  const a = await newCa('a');
  let time = now;
  let reads = 0;
  const clock = () => time;
  const external = { open: async () => a, files: [], watch: false };
  const base = externalPlace(undefined, external, { clock, lifetimeMs: 600_000 });
  const promotion = { name: 'next', at: new Date(now + 1000) };
  const place: typeof base = {
    ...base,
    async read() {
      reads += 1;
      const all = await base.read();
      time = now + 2000;
      return all;
    },
    record: async (...given) => ({ ...(await base.record(...given)), promotion }),
  };
  const logger = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;
  const settled = () => Promise.resolve();
  const source = await openCaSource(place, { logger, metrics: { registry: new Registry() }, clock, settled });
  // Without it the next one would be ten seconds later.
  await eventually(() => reads === 2);
  await source.close();
});

test.each([
  [31, []],
  [30, ['ends in 30 days']],
  [7, ['ends in 7 days']],
  [2, ['ends in 2 days']],
  [0.5, ['ends in 12 hours']],
  [0.5 / 24, ['ends in 30 minutes']],
  [-1, ['has ended']],
])('%s days before its end a certificate is warned of: %j', async (days, expected) => {
  const ca = await newCa('a', 100);
  const source = (await openLab(ca)).source;
  const said: string[] = [];
  const warn = createExpiryWarnings(
    { warn: ((_entry: unknown, text: string) => void said.push(text)) as never },
    () => ca.notAfter.getTime() - days * dayMs,
  );
  warn(source.view());
  warn(source.view());
  expect(said).toHaveLength(expected.length);
  expected.forEach((text, i) => {
    expect(said[i]).toContain(text);
  });
  await source.close();
});

test('metrics count down the seconds to the end of every certificate', async () => {
  const { source, registry } = await openLab(await newCa('a', 100));
  expect(await registry.metrics()).toMatch(
    new RegExp(
      `mayfly_ca_seconds_until_expiry\\{ca="[0-9a-f]{8}",state="active",subject="CN=a, O=lab"\\} ${100 * 86400}`,
    ),
  );
  await source.close();
});
