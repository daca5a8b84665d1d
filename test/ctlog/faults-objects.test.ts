import { readObjectStore } from '../../src/ctlog/object-storage.js';
import { ObjectLogStorage } from '../../src/ctlog/object-storage-operations.js';
import { openS3 } from '../../src/ctlog/s3-objects.js';
import { faultTable, rowsOf, type Subject } from './fault-table.js';
import { faultModes } from './faulty-storage.js';
import { silent } from './fixtures.js';
import { type FakeRow, type FakeS3, fakeLease, startFakeS3 } from './object-storage-fakes.js';

/** Nothing hangs in the store here, and a busy machine may take its time. */
const patienceMs = 20_000;

/** A killed writer; its lease goes to the next one. In a store, what was written is durable. */
async function subjectOf(fake: FakeS3, row: FakeRow): Promise<Subject> {
  const reader = await readObjectStore(fake.s3);
  return {
    async open() {
      const lease = fakeLease(row);
      lease.steal();
      return { storage: new ObjectLogStorage(await openS3(fake.s3), lease, silent) };
    },
    reader,
    violations: () => fake.rewritten.filter((path) => path !== 'log/checkpoint'),
    powerFailure: () => {},
    async copy() {
      const copy = await startFakeS3(patienceMs);
      for (const [path, bytes] of fake.objects) copy.objects.set(path, bytes);
      return subjectOf(copy, { ...row });
    },
    async dispose() {
      reader.close();
      await fake.close();
    },
  };
}

const run = faultTable(async () =>
  subjectOf(await startFakeS3(patienceMs), { epoch: 0n, owner: undefined, checkpoint: undefined }),
);

test.each(rowsOf(faultModes))('$operation, call $call: $mode', (fault) => run(fault));
