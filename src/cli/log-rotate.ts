import type { Command } from 'commander';
import { setMark } from '../ctlog/object-storage-marks.js';
import { type RotateStore, rotateLog } from '../ctlog/rotate.js';
import { formatS3Address, s3Name } from '../ctlog/s3-address.js';
import { type ObjectStore, openS3 } from '../ctlog/s3-objects.js';
import type { ShardPlace } from '../ctlog/shards.js';
import { checkpointPath } from '../ctlog/storage.js';
import { openLogStorage, storeAddress } from '../server/log-storage.js';
import { declareServeFlags } from './flag-options.js';
import { type OfflineOptions, offlineOptions, openOffline } from './log-options.js';
import { type CommandIo, processIo } from './request-io.js';

const flags = ['data-dir', 'ctlog-dir', 'ctlog-storage', 'ctlog-postgres', 'ctlog-lock'] as const;

const help = `
Stop the server, run this, start the server. The log in use is frozen: its tree head is signed a last time, its private
key is destroyed, and it is served read-only for ever, under the URL and origin it always had. The next log gets a new
key, the next number (PUBLIC-URL/ctlog2, then ctlog3 …) and a directory of its own beside the first. New certificates
carry SCTs of the new log. The trust files that the next start writes list every log, the frozen ones with the time of
their last SCT as end, so old certificates stay valid: hand the new trusted_root.json out before clients meet a new one.

Give --ctlog-lock, --ctlog-storage and --ctlog-postgres as the server has them. In an object store the next log lies beside
the first (s3://bucket/prefix2). Stop the standbys too: afterwards each needs the data directory's keys/ctlog and
ctlog-shards.json, and refuses to start with the old ones.
There is no way back, and none is needed: a frozen log keeps its proofs.
`;

/** `mayfly log rotate`: freezes the log and opens the next. */
export function registerLogRotate(log: Command, done: (code: number) => void): void {
  const command = log
    .command('rotate')
    .description('freeze the log for ever and open the next one with a new key; the server must be stopped');
  declareServeFlags(command, flags);
  command.addHelpText('after', help).action(async () => {
    await rotateCommand(offlineOptions(command, flags, process.env), processIo());
    done(0);
  });
}

/** Rotates and prints what there is now; throws AppError STARTUP when there is no log or somebody uses it. */
export async function rotateCommand(
  options: OfflineOptions,
  io: Pick<CommandIo, 'out' | 'err' | 'now'>,
): Promise<void> {
  const clock = (): number => io.now().getTime();
  const say = (_context: unknown, message?: unknown): void => io.err(`${String(message ?? '')}\n`);
  const logger = { info: () => {}, warn: say, error: say };
  const { ctlogLock: lock, objects } = options;
  const settings = { ...(objects === undefined ? {} : { objects }), ...(lock === undefined ? {} : { lock }) };
  const { frozen, opened } = await rotateLog({
    ...(await openOffline(options, clock)),
    clock,
    logger,
    ...(objects === undefined ? {} : { store: rotateStore(objects) }),
    // That there is no record is said at every start, and no news to somebody who rotates.
    openStorage: async ({ directory, origin, number }, key) => {
      const said = lock === undefined ? { ...logger, warn: () => {} } : logger;
      const offline = { allowed: 'frozen' } as const;
      const deps = { directory, origin, number, key, clock, logger: said, offline };
      return (await openLogStorage(settings, deps)).storage;
    },
  });
  const whereIs = ({ directory, number }: ShardPlace): string =>
    objects === undefined ? `directory  ${directory}` : `store      ${s3Name(storeAddress(objects, number))}`;
  const lastSct = frozen.lastSct === undefined ? 'none' : new Date(frozen.lastSct).toISOString();
  io.out(
    `frozen  ${frozen.place.url}\n` +
      `  ${whereIs(frozen.place)}\n` +
      `  entries    ${frozen.size}\n` +
      `  root hash  ${Buffer.from(frozen.root).toString('hex')}\n` +
      `  last SCT   ${lastSct}\n` +
      `opened  ${opened.place.url}\n` +
      `  ${whereIs(opened.place)}\n` +
      'Start the server now: it writes the trust files, which list both logs.\n',
  );
}

function rotateStore(objects: { readonly address: string }): RotateStore {
  const using = async <T>({ number }: ShardPlace, action: (store: ObjectStore) => Promise<T>): Promise<T> => {
    const store = await openS3(storeAddress(objects, number));
    try {
      return await action(store);
    } finally {
      store.close();
    }
  };
  const isEmpty = async (store: ObjectStore): Promise<boolean> =>
    (await store.get(checkpointPath)) === undefined && (await store.list('tile/')).length === 0;
  return {
    address: ({ number }) => formatS3Address(storeAddress(objects, number)),
    isEmpty: (place) => using(place, isEmpty),
    freeze: (place) => using(place, (store) => setMark(store, 'frozen')),
  };
}
