import { AppError } from '../errors.js';

/**
 * The life of a certificate authority, as pure steps over the set of all that this instance ever had:
 *
 *     add ──▶ next ──promote──▶ active ──another is promoted──▶ former ──retire──▶ retired ──delete──▶ retired, no key
 *
 * - `next`: published in the trust bundle and the trusted root, issues nothing yet.
 * - `active`: the one that issues.
 * - `former`: issues no longer and is published as before, so that going back to it is one promotion.
 * - `retired`: out of the trust bundle, for ever in the trusted root with an end.
 *
 * Every certificate that was issued lies within the period that the trusted root gives its CA, in every later set too.
 */
export type CaState = 'next' | 'active' | 'former' | 'retired';

export interface CaRecord {
  /** What commands call it; unique, and no path. */
  readonly name: string;
  readonly state: CaState;
  /** SHA-256 of the issuing certificate's DER, in hex: what makes it this CA. */
  readonly fingerprint: string;
  /** PEM, issuing CA first, root last. */
  readonly chain: string;
  /** Where key.pem and chain.pem are, relative to the data directory; absent when the key is elsewhere or deleted. */
  readonly keyDirectory?: string | undefined;
  /** When it was published first. */
  readonly addedAt: Date;
  /** When it last became active; absent when it never was. */
  readonly activeSince?: Date | undefined;
  /** No certificate of it was issued after this; absent while that is not certain. */
  readonly issuedUntil?: Date | undefined;
  /** The longest validity of its certificates, in milliseconds. */
  readonly lifetimeMs?: number | undefined;
  readonly retiredAt?: Date | undefined;
  readonly keyDeletedAt?: Date | undefined;
}

/** Every CA this instance ever had, in the order they came, and the promotion that is due at a date. */
export interface Authorities {
  readonly cas: readonly CaRecord[];
  readonly promotion?: { readonly name: string; readonly at: Date } | undefined;
}

export const noAuthorities: Authorities = { cas: [] };

/** What identifies a CA and says where its key is. */
export type NewCaRecord = Pick<CaRecord, 'name' | 'fingerprint' | 'chain' | 'keyDirectory'>;

/** The certificate lifetime to assume of a CA of which none is recorded, in milliseconds. */
const defaultLifetimeMs = 10 * 60 * 1000;

/** The active CA; undefined before the first one. */
export function activeOf({ cas }: Authorities): CaRecord | undefined {
  return cas.find(({ state }) => state === 'active');
}

/**
 * The CA of that name, or whose fingerprint starts with it (eight characters at least). Throws AppError STARTUP when
 * there is none.
 */
export function findCa({ cas }: Authorities, name: string): CaRecord {
  const byFingerprint = cas.filter(({ fingerprint }) => name.length >= 8 && fingerprint.startsWith(name.toLowerCase()));
  const found = cas.find((ca) => ca.name === name) ?? (byFingerprint.length === 1 ? byFingerprint[0] : undefined);
  if (found !== undefined) return found;
  const names = cas.map((ca) => ca.name).join(', ') || 'none';
  throw wrong(`there is no CA "${name}" here; there are: ${names}`);
}

/**
 * Publishes a CA as `next`. One that is retired comes back this way; one whose key was elsewhere gets it. Throws AppError
 * STARTUP when the CA, or another one of its name, is there already.
 */
export function addCa(all: Authorities, ca: NewCaRecord, now: Date): Authorities {
  const known = all.cas.find(({ fingerprint }) => fingerprint === ca.fingerprint);
  if (known === undefined) {
    if (all.cas.some(({ name }) => name === ca.name)) {
      throw wrong(`there is another CA named ${ca.name}; give this one another name with --name`);
    }
    return { ...all, cas: [...all.cas, { ...ca, state: 'next', addedAt: now }] };
  }
  const getsKey = known.state === 'next' && known.keyDirectory === undefined && ca.keyDirectory !== undefined;
  if (known.state !== 'retired' && !getsKey) throw wrong(`this CA is here already: ${known.name}, ${known.state}`);
  const { keyDirectory = known.keyDirectory, chain } = ca;
  return change(all, known, { chain, keyDirectory, state: 'next', retiredAt: undefined, keyDeletedAt: undefined });
}

/**
 * Makes a published CA the active one, and the active one former. Unchanged when it is active already. Throws AppError
 * STARTUP for one that is not published or whose key is not in the data directory.
 */
export function promoteCa(all: Authorities, name: string, now: Date): Authorities {
  const ca = checkPromotable(all, name);
  if (ca.state === 'active') return all;
  const promotion = all.promotion?.name === ca.name ? undefined : all.promotion;
  return activate({ ...all, promotion }, ca, now);
}

/** The CA that a promotion of `name` would concern; throws AppError STARTUP as `promoteCa` does. */
export function checkPromotable(all: Authorities, name: string): CaRecord {
  const ca = findCa(all, name);
  if (ca.state === 'retired') {
    const why = 'clients take nothing new from it; publish a CA with "mayfly ca add" first';
    throw wrong(`${ca.name} is retired, so ${why}`);
  }
  if (ca.keyDirectory === undefined && ca.state !== 'active') {
    throw wrong(
      `the key of ${ca.name} is not in this data directory: it becomes active when the server's own flags (--ca …) or ` +
        'the files they name lead to it',
    );
  }
  return ca;
}

/** Has `name` promoted at a date, in place of any promotion that was due before; throws as `promoteCa` does. */
export function schedulePromotion(all: Authorities, name: string, at: Date): Authorities {
  const ca = checkPromotable(all, name);
  if (ca.state === 'active') throw wrong(`${ca.name} is active already`);
  return { ...all, promotion: { name: ca.name, at } };
}

/** Forgets the promotion that was due. */
export function cancelPromotion(all: Authorities): Authorities {
  return { ...all, promotion: undefined };
}

/** Makes the promotion whose date has come, if any; throws AppError STARTUP when it is no longer possible. */
export function promoteWhenDue(all: Authorities, now: Date): Authorities {
  const { promotion } = all;
  return promotion === undefined || promotion.at > now ? all : promoteCa(all, promotion.name, now);
}

/**
 * Makes the CA that the server was given from outside (flags, replaced files) the active one, published before or not.
 * One that takes over another's key directory takes it away from that.
 */
export function adoptCa(all: Authorities, ca: NewCaRecord, now: Date): Authorities {
  const known = all.cas.find(({ fingerprint }) => fingerprint === ca.fingerprint);
  const { keyDirectory, chain } = ca;
  if (known?.state === 'active') {
    return change(all, known, { chain, ...(keyDirectory === undefined ? {} : { keyDirectory }) });
  }
  const others = all.cas.map((other) =>
    keyDirectory !== undefined && other.keyDirectory === keyDirectory ? { ...other, keyDirectory: undefined } : other,
  );
  if (known === undefined) {
    const name = others.some((other) => other.name === ca.name) ? ca.fingerprint : ca.name;
    const record: CaRecord = { ...ca, name, state: 'next', addedAt: now };
    return activate({ ...all, cas: [...others, record] }, record, now);
  }
  const updated = change({ ...all, cas: others }, known, {
    chain,
    ...(keyDirectory === undefined ? {} : { keyDirectory, keyDeletedAt: undefined }),
  });
  return activate(updated, known, now);
}

/**
 * Takes a CA out of the trust bundle and ends it in the trusted root, one certificate lifetime after its last issuance.
 * Unchanged when it is retired already. Throws AppError STARTUP for the active one.
 */
export function retireCa(all: Authorities, name: string, now: Date): Authorities {
  const ca = findCa(all, name);
  if (ca.state === 'retired') return all;
  if (ca.state === 'active') throw wrong(`${ca.name} is active; promote another CA first`);
  const issuedUntil = ca.activeSince === undefined ? undefined : (ca.issuedUntil ?? now);
  const promotion = all.promotion?.name === ca.name ? undefined : all.promotion;
  return change({ ...all, promotion }, ca, { state: 'retired', retiredAt: now, issuedUntil });
}

/** Forgets where the key of a retired CA is: it may be destroyed. Throws AppError STARTUP for one that is not retired. */
export function forgetKey(all: Authorities, name: string, now: Date): Authorities {
  const ca = findCa(all, name);
  if (ca.state !== 'retired') throw wrong(`${ca.name} is ${ca.state}; only the key of a retired CA can be deleted`);
  return ca.keyDirectory === undefined ? all : change(all, ca, { keyDirectory: undefined, keyDeletedAt: now });
}

/** Records that a CA issues with certificates of this validity. */
export function noteLifetime(all: Authorities, fingerprint: string, lifetimeMs: number): Authorities {
  const ca = all.cas.find((one) => one.fingerprint === fingerprint);
  if (ca === undefined || (ca.lifetimeMs ?? 0) >= lifetimeMs) return all;
  return change(all, ca, { lifetimeMs });
}

/** Records that a CA that is active no longer issued nothing after `at`; a later time wins over an earlier one. */
export function noteStopped(all: Authorities, fingerprint: string, at: Date): Authorities {
  const ca = all.cas.find((one) => one.fingerprint === fingerprint);
  if (ca === undefined || ca.state === 'active' || ca.activeSince === undefined) return all;
  return ca.issuedUntil !== undefined && ca.issuedUntil >= at ? all : change(all, ca, { issuedUntil: at });
}

/** Whether clients must be told of it: all but one that was withdrawn before it issued anything. */
export function isPublished({ state, activeSince }: CaRecord): boolean {
  return state !== 'retired' || activeSince !== undefined;
}

/** When clients must stop to believe it: one lifetime after its last issuance; undefined while it may issue again. */
export function endOf({ state, issuedUntil, lifetimeMs = defaultLifetimeMs }: CaRecord): Date | undefined {
  if (state !== 'retired' || issuedUntil === undefined) return undefined;
  return new Date(issuedUntil.getTime() + lifetimeMs);
}

function activate(all: Authorities, ca: CaRecord, now: Date): Authorities {
  const cas = all.cas.map((other): CaRecord => {
    if (other.fingerprint === ca.fingerprint) {
      return { ...other, state: 'active', activeSince: now, issuedUntil: undefined, retiredAt: undefined };
    }
    return other.state === 'active' ? { ...other, state: 'former' } : other;
  });
  return { ...all, cas };
}

/** The same object when nothing is different, so that nothing is written for it. */
function change(all: Authorities, ca: CaRecord, fields: Partial<CaRecord>): Authorities {
  const names = Object.keys(fields) as (keyof CaRecord)[];
  if (names.every((name) => ca[name] === fields[name])) return all;
  return { ...all, cas: all.cas.map((one) => (one.fingerprint === ca.fingerprint ? { ...one, ...fields } : one)) };
}

function wrong(detail: string): AppError {
  return new AppError('STARTUP', detail);
}
