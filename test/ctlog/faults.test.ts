import { faultTable, type Keep, rowsOf, type Subject } from './fault-table.js';
import { type Tear, tearing } from './faulty-storage.js';
import { MemoryStorage } from './memory-storage.js';

function tearOf(storage: MemoryStorage): Tear {
  const otherwise = tearing(storage);
  return (operation, args) =>
    operation === 'replaceCheckpoint'
      ? storage.replaceCheckpointVisibly(...(args as [Uint8Array | undefined, Uint8Array]))
      : otherwise(operation, args);
}

/** As weak as the contract allows: here alone a power failure takes what is not durable. */
const subjectOf = (storage: MemoryStorage): Subject => ({
  open: async () => ({ storage, tear: tearOf(storage) }),
  reader: storage,
  violations: () => storage.violations,
  powerFailure: (keep) => storage.powerFailure(keep),
  copy: async () => subjectOf(storage.copy()),
  dispose: async () => {},
});

const run = faultTable(async () => subjectOf(new MemoryStorage()));

test.each(rowsOf(['fail', 'persist', 'torn', 'hang']))('$operation, call $call: $mode', (fault) => run(fault));

describe.each<[string, Keep]>([
  ['loses all that was not flushed', () => false],
  ['loses every other file', (name) => name.length % 2 === 0],
  ['tears every file', () => 'torn'],
])('a crash that %s', (_, keep) => {
  test.each(rowsOf(['crash before', 'crash after']))('$operation, call $call: $mode', (fault) => run(fault, keep));
});

test.each(rowsOf(['hang, killed before', 'hang, killed after']))('$operation, call $call: $mode', (fault) =>
  run(fault),
);

test('a commit that came to light by reading it back is made durable before a tree head shows it', () =>
  run([
    { operation: 'replaceCheckpoint', call: 2, mode: 'torn' },
    { operation: 'stage', call: 2, mode: 'crash before' },
  ]));

describe('after a power failure that left parts of tiles which readers had seen whole', () => {
  const runOnTorn = faultTable(
    async () => subjectOf(new MemoryStorage()),
    () => 'torn',
  );
  test.each(rowsOf(['persist', 'crash after']).filter(({ call }) => call === 1))(
    '$operation, call $call: $mode',
    (fault) => runOnTorn(fault),
  );
});
