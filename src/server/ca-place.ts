import { join } from 'node:path';
import type { CertificateAuthority } from '../ca/authority.js';
import type { DataDirectory } from '../ca/data-directory.js';
import {
  type Authorities,
  activeOf,
  adoptCa,
  type CaRecord,
  noAuthorities,
  noteLifetime,
  noteStopped,
  promoteWhenDue,
  retireCa,
} from '../ca/life-cycle.js';
import { authoritiesFile, readAuthorities, updateAuthorities } from '../ca/life-cycle-file.js';
import { defaultName, fingerprintOfCa, openKeyedCa, selfTest } from '../ca/life-cycle-keys.js';
import { AppError, messageOf } from '../errors.js';

/** Where a server's CA comes from, and the record that says what becomes of each. */
export interface CaPlace {
  /** Files to watch for changes. */
  readonly watched: readonly string[];
  /** The record as it is to be in force now, with the promotion made that is due. */
  read(): Promise<Authorities>;
  /** What the active CA is opened from; another content means another CA, perhaps. */
  files(authorities: Authorities): readonly string[];
  /** Opens the active CA, which has signed once as a test. Throws AppError STARTUP. */
  open(authorities: Authorities): Promise<CertificateAuthority>;
  /**
   * Records durably that `ca`, opened as `planned` says, is the active one from now on. Throws AppError STARTUP, also when
   * the record has changed meanwhile so that it is not.
   */
  record(ca: CertificateAuthority, planned: Authorities, isStart: boolean): Promise<Authorities>;
  /** Opens the CAs that may be promoted, as a test; why that would fail, or undefined. */
  rehearse(authorities: Authorities): Promise<string | undefined>;
  /** Records that `ca`, which was active, has issued its last certificate. */
  left(ca: CertificateAuthority): Promise<void>;
}

interface PlaceOptions {
  readonly clock: () => number;
  readonly lifetimeMs: number;
}

/** How a record is kept: in a data directory, or in memory for a CA that is worthless tomorrow. */
interface Store {
  read(): Promise<Authorities>;
  update(step: (before: Authorities) => Authorities): Promise<Authorities>;
}

function storeIn(directory: string): Store {
  return {
    read: async () => (await readAuthorities(directory)) ?? noAuthorities,
    update: (step) => updateAuthorities(directory, (before = noAuthorities) => step(before)),
  };
}

function storeInMemory(): Store {
  let all = noAuthorities;
  return {
    read: () => Promise.resolve(all),
    async update(step) {
      all = step(all);
      return all;
    },
  };
}

/**
 * The CAs of the data directory: its record says which one is active. A key directory whose files were replaced, as a
 * mounted Secret's are, holds another CA from then on.
 */
export async function dataDirectoryPlace(data: DataDirectory, { clock, lifetimeMs }: PlaceOptions): Promise<CaPlace> {
  const store = storeIn(data.path);
  // The first start makes the CA.
  await (await data.openCa()).signer.close();
  const now = (): Date => new Date(clock());
  const planned = (all: Authorities): Authorities => promoteWhenDue(all, now());
  return {
    watched: [join(data.path, authoritiesFile)],
    read: async () => planned(await store.read()),
    files: (all) => {
      const { keyDirectory } = activeIn(data, all);
      return ['key.pem', 'chain.pem'].map((name) => join(data.path, keyDirectory, name));
    },
    open: (all) => openKeyedCa(data.path, activeIn(data, all).keyDirectory, clock()),
    record: (ca, opened, isStart) =>
      store.update((before) => {
        const all = planned(before);
        const { keyDirectory, name } = activeIn(data, all);
        if (keyDirectory !== activeIn(data, opened).keyDirectory) {
          throw new AppError('STARTUP', `${name} was promoted while another CA was being opened`);
        }
        const adopted = adoptCa(all, { ...recordOf(ca), keyDirectory }, now());
        const noted = noteLifetime(adopted, fingerprintOfCa(ca), lifetimeMs);
        return isStart ? stopFormer(noted, now()) : noted;
      }),
    async rehearse(all) {
      for (const { name, state, keyDirectory } of all.cas) {
        if (state !== 'next' || keyDirectory === undefined) continue;
        try {
          await (await openKeyedCa(data.path, keyDirectory, clock())).signer.close();
        } catch (error) {
          return `the CA ${name} could not be promoted now: ${messageOf(error)}`;
        }
      }
      return undefined;
    },
    async left(ca) {
      await store.update((all) => noteStopped(all, fingerprintOfCa(ca), now()));
    },
  };
}

/** The active CA, whose key must be here. */
function activeIn(data: DataDirectory, all: Authorities): CaRecord & { readonly keyDirectory: string } {
  const active = activeOf(all);
  const { keyDirectory } = active ?? {};
  if (active !== undefined && keyDirectory !== undefined) return { ...active, keyDirectory };
  throw new AppError(
    'STARTUP',
    `${join(data.path, authoritiesFile)} names no active CA whose key is in this directory`,
  );
}

/**
 * Other servers with the same CA may see its replacement later than this one: kubelets take a minute or two to bring a
 * changed Secret to every node.
 */
const laggardsMs = 5 * 60 * 1000;

export interface ExternalPlace {
  /** Opens the CA that the server's settings lead to now. */
  readonly open: () => Promise<CertificateAuthority>;
  /** The files it is made from. */
  readonly files: readonly string[];
  /** Whether those are watched; if not, only a reload looks at them. */
  readonly watch: boolean;
}

/**
 * A CA whose key the server's settings name. Whatever they lead to is the active one, announced before or not; the one
 * before it is retired as soon as it has issued its last certificate. `directory` keeps the record, if anywhere.
 */
export function externalPlace(
  directory: string | undefined,
  external: ExternalPlace,
  { clock, lifetimeMs }: PlaceOptions,
): CaPlace {
  const store = directory === undefined ? storeInMemory() : storeIn(directory);
  const files = external.watch ? external.files : [];
  const lastIssuance = (): Date => new Date(clock() + laggardsMs);
  return {
    watched: [...files, ...(directory === undefined ? [] : [join(directory, authoritiesFile)])],
    read: () => store.read(),
    files: () => files,
    async open() {
      const ca = await external.open();
      try {
        await selfTest(ca);
        return ca;
      } catch (error) {
        await ca.signer.close();
        throw error;
      }
    },
    rehearse: () => Promise.resolve(undefined),
    record: (ca, _opened, isStart) =>
      store.update((all) => {
        const adopted = adoptCa(all, recordOf(ca), new Date(clock()));
        const noted = noteLifetime(adopted, fingerprintOfCa(ca), lifetimeMs);
        return isStart ? retireFormer(stopFormer(noted, lastIssuance()), new Date(clock())) : noted;
      }),
    async left(ca) {
      await store.update((all) =>
        retireFormer(noteStopped(all, fingerprintOfCa(ca), lastIssuance()), new Date(clock())),
      );
    },
  };
}

function recordOf(ca: CertificateAuthority) {
  const fingerprint = fingerprintOfCa(ca);
  return { name: defaultName(fingerprint), fingerprint, chain: ca.chainPem.join('') };
}

/** At a start nothing is under way any more: a former CA of which it is not known has issued its last certificate. */
function stopFormer(all: Authorities, at: Date): Authorities {
  const unsure = all.cas.filter(({ state, issuedUntil }) => state === 'former' && issuedUntil === undefined);
  return unsure.reduce((before, { fingerprint }) => noteStopped(before, fingerprint, at), all);
}

function retireFormer(all: Authorities, now: Date): Authorities {
  const stopped = all.cas.filter(({ state, issuedUntil }) => state === 'former' && issuedUntil !== undefined);
  return stopped.reduce((before, { name }) => retireCa(before, name, now), all);
}
