import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { verifyTrails } from '../../src/audit/verify.js';
import { canMount, limitFileSize, mountSmallDisk } from '../fault/disk.js';
import { createInstance, type InstanceProcess, isReady, requestCertificate } from '../fault/server.js';

jest.setTimeout(120_000);

interface Lab {
  /** Directory of the trail. */
  readonly path: string;
  readonly server: InstanceProcess;
}

const filler = ({ path }: Lab): string => join(path, 'filler');
const faults = [
  {
    name: 'is full',
    needsMount: true,
    begin: (lab: Lab) => fill(filler(lab)),
    end: (lab: Lab) => rmSync(filler(lab)),
  },
  {
    name: 'takes no file larger than a few bytes',
    needsMount: false,
    begin: ({ server }: Lab) => limitFileSize(server.pid, 10),
    end: ({ server }: Lab) => limitFileSize(server.pid, 'unlimited'),
  },
];

const mounts = canMount();

describe.each(faults)('when the disk of the trail $name', ({ needsMount, begin, end }) => {
  // A machine on which this process is not root cannot have the first.
  const possible = mounts || !needsMount ? test : test.skip;

  possible('nothing is issued, and it is again when the disk is back', async () => {
    const disk = needsMount ? mountSmallDisk(256) : undefined;
    const path = disk?.path ?? mkdtempSync(join(tmpdir(), 'mayfly-audit-disk-'));
    const trail = join(path, 'audit.jsonl');
    const instance = await createInstance({ flags: [`--audit-log=${trail}`] });
    try {
      const lab: Lab = { path, server: await instance.start() };
      const token = await instance.token();
      const issue = async () => (await requestCertificate(instance, token)).answer;
      expect((await issue()).status).toBe(200);
      begin(lab);
      // What is left of a page may take a line or two.
      while ((await issue()).status === 200);
      const refused = await issue();
      expect(refused.status).toBe(503);
      expect(refused.text).not.toContain(path);
      const ready = await fetch(`${instance.url}/readyz`);
      expect(await ready.text()).toMatch(/the audit trail cannot be written: E/);
      end(lab);
      while (!(await isReady(instance.url))) await sleep(50); // jest's own time limit ends it
      expect((await issue()).status).toBe(200);
      await lab.server.stop('SIGTERM');
      const problems: unknown[] = [];
      verifyTrails([trail], { report: (problem) => problems.push(problem) });
      expect(problems).toEqual([]);
    } finally {
      await instance.close();
      if (disk === undefined) rmSync(path, { recursive: true, force: true });
      else disk.unmount();
    }
  });
});

/** Takes every byte that is left. */
function fill(path: string): void {
  for (let size = 65_536; size >= 1; size = Math.floor(size / 2)) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(size), { flag: 'a' });
    } catch {
      // Smaller pieces may still fit.
    }
  }
}
