import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { canMount, limitFileSize, mountSmallDisk, type SmallDisk } from './disk.js';
import { Ledger } from './ledger.js';
import { createInstance, type Instance, type InstanceProcess, isReady, requestCertificate } from './server.js';

jest.setTimeout(120_000);

/** A server that runs, and something that takes its disk away. */
interface Lab {
  readonly instance: Instance;
  readonly server: InstanceProcess;
  readonly disk: SmallDisk | undefined;
}

interface Fault {
  readonly name: string;
  readonly needsMount: boolean;
  readonly begin: (lab: Lab) => void;
  readonly end: (lab: Lab) => void;
}

const filler = (lab: Lab): string => join(lab.disk?.path ?? '', 'filler');

const faults: readonly Fault[] = [
  {
    name: 'is full',
    needsMount: true,
    begin: (lab) => fill(filler(lab)),
    end: (lab) => rmSync(filler(lab)),
  },
  {
    name: 'is read-only',
    needsMount: true,
    begin: ({ disk }) => disk?.makeReadOnly(),
    end: ({ disk }) => disk?.makeWritable(),
  },
  {
    name: 'takes no file larger than a few bytes',
    needsMount: false,
    begin: ({ server }) => limitFileSize(server.pid, 10),
    end: ({ server }) => limitFileSize(server.pid, 'unlimited'),
  },
];

const mounts = canMount();

describe.each(faults)('when the disk of the log $name', ({ needsMount, begin, end }) => {
  // A machine on which this process is not root cannot have the first two.
  const possible = mounts || !needsMount ? test : test.skip;

  possible('the server refuses with 503, is not ready, loses nothing, and goes on when the disk is back', async () => {
    const disk = needsMount ? mountSmallDisk(2048) : undefined;
    const instance = await createInstance({ logDir: disk && join(disk.path, 'log') });
    try {
      const lab: Lab = { instance, server: await instance.start(), disk };
      const ledger = new Ledger();
      const token = await instance.token();
      const issue = () => requestCertificate(instance, token);
      const issueAndNote = async () => {
        const { answer, certificate } = await issue();
        expect(answer.status).toBe(200);
        ledger.promised(certificate ?? [], instance.logKey());
        ledger.saw(await instance.head());
      };
      await issueAndNote();

      begin(lab);
      const refusals = await Promise.all([issue(), issue(), issue()]);
      for (const { answer } of refusals) await expectRefusal(answer);
      expect(await readyReport(instance)).toMatchObject({ status: 503, reason: expect.stringContaining('log') });
      // What was published before is still served.
      ledger.saw(await instance.head());

      end(lab);
      await until(() => isReady(instance.url));
      await issueAndNote();
      await lab.server.stop('SIGTERM');
      expect(lab.server.ended()).toBe(0);
      await ledger.check({ directory: instance.logDir, origin: instance.origin, key: instance.logKey() });
      expect(ledger.verdict()).toEqual({ lost: 0, forked: 0, backwards: 0, details: [] });
    } finally {
      await instance.close();
      disk?.unmount();
    }
  });
});

(mounts ? test : test.skip).each([[[]], [['--token-reuse', 'deny']]])(
  'a server all of whose data is on a full disk (%j) refuses or answers, but lives and loses nothing',
  async (flags) => {
    // Room for the journal, which is of one size from the start: the log still commits when its index finds no room.
    const disk = mountSmallDisk(12 * 1024);
    const instance = await createInstance({ dir: mkdtempSync(join(disk.path, 'instance-')), flags });
    try {
      const server = await instance.start();
      const ledger = new Ledger();
      const issue = async () => {
        const { answer, certificate } = await requestCertificate(instance, await instance.token());
        if (answer.status === 200) ledger.promised(certificate ?? [], instance.logKey());
        return answer.status;
      };
      expect(await issue()).toBe(200);
      fill(join(disk.path, 'filler'));
      for (let i = 0; i < 6; i++) {
        // Tokens of one second are the same token.
        await sleep(1100);
        expect([200, 500, 503]).toContain(await issue());
      }
      expect(server.ended()).toBeUndefined();
      rmSync(join(disk.path, 'filler'));
      await until(() => isReady(instance.url));
      await sleep(1100);
      expect(await issue()).toBe(200);
      await server.stop('SIGTERM');
      expect(server.ended()).toBe(0);
      await ledger.check({ directory: instance.logDir, origin: instance.origin, key: instance.logKey() });
      expect(ledger.verdict()).toEqual({ lost: 0, forked: 0, backwards: 0, details: [] });
    } finally {
      await instance.close();
      disk.unmount();
    }
  },
);

(mounts ? test : test.skip)('a server does not start on a read-only disk, and says so', async () => {
  const disk = mountSmallDisk(2048);
  const instance = await createInstance({ logDir: join(disk.path, 'log') });
  try {
    await (await instance.start()).stop('SIGTERM');
    disk.makeReadOnly();
    await expect(instance.start()).rejects.toThrow(/cannot use .*log for the log: EROFS: read-only file system/);
    // The same where there was no log yet.
    const missing = await createInstance({ logDir: join(disk.path, 'new/log') });
    await expect(missing.start()).rejects.toThrow(/cannot use .*new\/log for the log: EROFS: read-only file system/);
    await missing.close();
    disk.makeWritable();
    await instance.start();
  } finally {
    await instance.close();
    disk.unmount();
  }
});

(mounts ? test : test.skip)('a server killed on a full disk starts again when there is room', async () => {
  const disk = mountSmallDisk(2048);
  const instance = await createInstance({ logDir: join(disk.path, 'log') });
  try {
    const server = await instance.start();
    const ledger = new Ledger();
    const { certificate } = await requestCertificate(instance, await instance.token());
    ledger.promised(certificate ?? [], instance.logKey());
    ledger.saw(await instance.head());
    fill(join(disk.path, 'filler'));
    await requestCertificate(instance, await instance.token());
    await server.stop('SIGKILL');
    // A start would remove what a write that was cut short left, and have room again.
    const writer = join(instance.logDir, '.writer');
    for (const name of readdirSync(writer)) if (name.startsWith('new-')) rmSync(join(writer, name));
    fill(join(disk.path, 'more filler'));
    await expect(instance.start()).rejects.toThrow(/ENOSPC/);
    for (const name of ['filler', 'more filler']) rmSync(join(disk.path, name));
    const again = await instance.start();
    ledger.saw(await instance.head());
    await again.stop('SIGTERM');
    await ledger.check({ directory: instance.logDir, origin: instance.origin, key: instance.logKey() });
    expect(ledger.verdict()).toEqual({ lost: 0, forked: 0, backwards: 0, details: [] });
  } finally {
    await instance.close();
    disk.unmount();
  }
});

/** Writes a file until the disk takes no more byte. */
function fill(path: string): void {
  const fd = openSync(path, 'w');
  try {
    for (;;) writeSync(fd, Buffer.alloc(4096));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  } finally {
    closeSync(fd);
  }
}

async function expectRefusal(answer: { status: number; headers: Headers; text: string }): Promise<void> {
  expect(answer.status).toBe(503);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
}

async function readyReport(instance: Instance): Promise<{ status: number; reason: string }> {
  const response = await fetch(`${instance.url}/readyz`);
  return { status: response.status, reason: await response.text() };
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(50); // jest's own time limit ends it
}
