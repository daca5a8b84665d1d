import { type Disk, disk } from '../../src/audit/disk.js';
import type { AuditRecord } from '../../src/audit/record.js';
import { createLab, failed, intent, issued, type Lab, type Opened } from './lab.js';

let lab: Lab;
beforeEach(() => {
  lab = createLab();
});
afterEach(() => lab.remove());

type Call = 'write' | 'sync' | 'rename' | 'open' | 'syncDirectory';
const broken = (): Error => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });

/** What a call does in place of its work. */
const faults: Readonly<
  Record<string, (work: () => Promise<unknown>, torn: () => Promise<unknown>) => Promise<unknown>>
> = {
  fails: async () => {
    throw broken();
  },
  'fails, but is done': async (work) => {
    await work();
    throw broken();
  },
  'fails half done': async (_work, torn) => {
    await torn();
    throw broken();
  },
};

interface FaultyDisk {
  readonly disk: Disk;
  /** The next so many calls of this kind go wrong. */
  break(call: Call, fault: keyof typeof faults, times: number): void;
  readonly broken: () => number;
}

function faultyDisk(): FaultyDisk {
  let plan: { call: Call; fault: keyof typeof faults; times: number } | undefined;
  let count = 0;
  const through = <T>(call: Call, work: () => Promise<T>, torn: () => Promise<unknown> = work): Promise<T> => {
    if (plan?.call !== call || plan.times === 0) return work();
    plan.times -= 1;
    count += 1;
    return (faults[plan.fault]?.(work, torn) ?? work()) as Promise<T>;
  };
  return {
    break: (call, fault, times) => {
      plan = { call, fault, times };
    },
    broken: () => count,
    disk: {
      open: (path) => through('open', () => disk.open(path)),
      write: (fd, bytes, at) =>
        through(
          'write',
          () => disk.write(fd, bytes, at),
          () => disk.write(fd, bytes.subarray(0, Math.floor(bytes.length / 2)), at),
        ),
      sync: (fd) => through('sync', () => disk.sync(fd)),
      rename: (from, to) => through('rename', () => disk.rename(from, to)),
      syncDirectory: (path) => through('syncDirectory', () => disk.syncDirectory(path)),
      close: (fd) => disk.close(fd),
    },
  };
}

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2)); // jest's own time limit ends it
};
const isRefusal = { code: 'AUDIT_UNAVAILABLE', httpStatus: 503 };
const eventsIn = (): string[] => lab.lines().map((line) => (JSON.parse(line) as AuditRecord).event);

describe.each(['write', 'sync'] as const)('when a %s', (call) => {
  test.each(Object.keys(faults))(
    '%s, the record is refused, and the trail is whole when the disk is back',
    async (fault) => {
      const faulty = faultyDisk();
      const { trail, close } = await lab.open({ disk: faulty.disk });
      await trail.append(intent(1));
      faulty.break(call, fault, 3);
      await expect(trail.append(issued(1))).rejects.toMatchObject(isRefusal);
      expect(trail.trouble()).toMatch(/ENOSPC/);
      await expect(trail.append(intent(2))).rejects.toMatchObject(isRefusal);
      await expect(trail.append(failed(3))).rejects.toMatchObject(isRefusal);
      await trail.append({ ...intent(1), event: 'reconciled', outcome: 'logged-not-returned' }, true);
      await until(() => trail.trouble() === undefined);
      await trail.append(intent(4));
      await trail.append(issued(4));
      await close();
      expect(faulty.broken()).toBe(3);
      expect(lab.verify().problems).toEqual([]);
      const events = ['opened', 'intent', 'issued', 'gap', 'reconciled', 'intent', 'issued', 'stopped'];
      expect(eventsIn()).toEqual(events);
      expect(JSON.parse(lab.lines()[3] ?? '')).toMatchObject({ counts: [{ event: 'failed', count: 1 }] });
    },
  );

  test.each(Object.keys(faults))('%s and the server is killed, the next one goes on with the chain', async (fault) => {
    const faulty = faultyDisk();
    const first = await lab.open({ disk: faulty.disk, limits: { retryMs: 60_000 } });
    await first.trail.append(intent(1));
    faulty.break(call, fault, 1);
    await expect(first.trail.append(intent(2))).rejects.toMatchObject(isRefusal);
    first.abandon();
    const second = await lab.open();
    const open = second.trail.open().map(({ requestId }) => requestId);
    expect(['request-1', 'request-1 request-2']).toContain(open.join(' '));
    await second.trail.append(intent(3));
    await second.close();
    const files = await filesOfTrail();
    expect(lab.verify(...files).problems).toEqual([]);
    expect(files).toHaveLength(fault === 'fails half done' && call === 'write' ? 2 : 1);
  });
});

async function filesOfTrail(): Promise<string[]> {
  const { readdirSync } = await import('node:fs');
  return readdirSync(lab.dir)
    .filter((name) => !/\.(lock|head)$/.test(name))
    .map((name) => `${lab.dir}/${name}`);
}

describe.each(['rename', 'open', 'write', 'sync', 'syncDirectory'] as const)('when the %s of a rotation', (call) => {
  test.each(Object.keys(faults))('%s, it is done again, and no line is lost or stands twice', async (fault) => {
    const faulty = faultyDisk();
    const { trail, close } = await lab.open({ disk: faulty.disk, limits: { maxBytes: 700 } });
    await trail.append(intent(1));
    await trail.append(issued(1));
    faulty.break(call, fault, 2);
    await trail.append(intent(2)).catch(() => {});
    await until(() => trail.trouble() === undefined);
    await trail.append(intent(3));
    await close();
    const files = await filesOfTrail();
    expect(files.length).toBeGreaterThan(1);
    const { problems, trails } = lab.verify(...files);
    expect(problems).toEqual([]);
    expect(trails).toHaveLength(1);
    expect(trails[0]?.first).toBe(1);
  });
});

test('a write that hangs refuses what waits for it, and counts when it ends', async () => {
  let release: (() => void) | undefined;
  let hang = false;
  const slow: Disk = {
    ...disk,
    async sync(fd) {
      if (hang) {
        hang = false;
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
      await disk.sync(fd);
    },
  };
  const { trail, close } = await lab.open({ disk: slow, limits: { hangMs: 1000 } });
  await trail.append(intent(1));
  hang = true;
  await expect(trail.append(issued(1))).rejects.toMatchObject(isRefusal);
  expect(trail.trouble()).toMatch(/a write has not ended within 1000 ms/);
  await expect(trail.append(intent(2))).rejects.toMatchObject(isRefusal);
  release?.();
  await until(() => trail.trouble() === undefined);
  await trail.append(intent(3));
  await close();
  expect(lab.verify().problems).toEqual([]);
  expect(eventsIn()).toEqual(['opened', 'intent', 'issued', 'gap', 'intent', 'stopped']);
});

test('a server whose disk hangs can be stopped', async () => {
  let hang = false;
  const stuck: Disk = { ...disk, sync: (fd) => (hang ? new Promise(() => {}) : disk.sync(fd)) };
  const { trail, close } = await lab.open({ disk: stuck, limits: { hangMs: 1000 } });
  await trail.append(intent(1));
  hang = true;
  await expect(trail.append(issued(1))).rejects.toMatchObject(isRefusal);
  await close();
});

test('an operator who prefers certificates to a record has them, and the record says what is missing', async () => {
  const faulty = faultyDisk();
  const limits = { maxWaiting: 3, retryMs: 50 };
  const { trail, close }: Opened = await lab.open({ disk: faulty.disk, onFailure: 'warn', limits });
  await trail.append(intent(1));
  faulty.break('sync', 'fails', 1);
  await trail.append(issued(1));
  for (const n of [2, 3, 4]) await trail.append(failed(n));
  await trail.append(failed(5));
  await until(() => trail.trouble() === undefined);
  await close();
  expect(lab.verify().problems).toEqual([]);
  const gap = lab
    .lines()
    .map((line) => JSON.parse(line) as AuditRecord)
    .find(({ event }) => event === 'gap');
  expect(gap).toMatchObject({ counts: [{ event: 'failed', count: 1 }] });
  expect(eventsIn().filter((event) => event === 'failed')).toHaveLength(3);
});

test('records that come together share one write and one sync', async () => {
  let syncs = 0;
  const counting: Disk = {
    ...disk,
    sync: (fd) => {
      syncs += 1;
      return disk.sync(fd);
    },
  };
  const { trail, close } = await lab.open({ disk: counting });
  await trail.append(failed(0));
  syncs = 0;
  await Promise.all(Array.from({ length: 200 }, (_, n) => trail.append(intent(n))));
  expect(syncs).toBeLessThanOrEqual(2);
  await close();
});
