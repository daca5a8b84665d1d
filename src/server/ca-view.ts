import type { CertificateAuthority } from '../ca/authority.js';
import { type Authorities, type CaRecord, type CaState, endOf, isPublished } from '../ca/life-cycle.js';
import { type PublicChain, readPublicChain } from '../ca/life-cycle-keys.js';

/** A CA as relying parties come to know it. */
export interface PublishedCa extends PublicChain {
  readonly name: string;
  readonly state: CaState;
  /** After which nothing of it is to be believed; only of a retired one. */
  readonly end?: Date | undefined;
}

/** The CAs at one moment: what issues, and everything that clients are to be told. */
export interface CaView {
  readonly active: CertificateAuthority;
  /** Active first, then next, former and retired ones. */
  readonly published: readonly PublishedCa[];
}

const order: readonly CaState[] = ['active', 'next', 'former', 'retired'];

/** Makes views; a chain that stays the same stays the same object from one view to the next. */
export function createViews(): (all: Authorities, active: CertificateAuthority) => CaView {
  const known = new Map<string, PublicChain>();

  function chainOf({ name, chain }: CaRecord): PublicChain {
    const read = known.get(chain) ?? readPublicChain(chain, `the CA ${name}`);
    known.set(chain, read);
    return read;
  }

  return (all, active) => ({ active, published: publishedCas(all, chainOf) });
}

/** The CAs of a record that clients are told of: active first, then next, former and retired ones. */
export function publishedCas(
  { cas }: Authorities,
  chainOf: (ca: CaRecord) => PublicChain = ({ name, chain }) => readPublicChain(chain, `the CA ${name}`),
): readonly PublishedCa[] {
  return cas
    .filter(isPublished)
    .map((ca) => ({ ...chainOf(ca), name: ca.name, state: ca.state, end: endOf(ca) }))
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
}

/** The chains of the trust bundle as PEM: those of every CA that may issue, the active one first. */
export function trustBundleOf({ published }: CaView): readonly (readonly string[])[] {
  return published.filter(({ state }) => state !== 'retired').map(({ chainPem }) => chainPem);
}

/** The chains whose certificates our log takes: also of a retired CA, until the last of them has ended. */
export function acceptedChains({ published }: CaView, now: number): readonly (readonly Uint8Array[])[] {
  return published.filter(({ end }) => end === undefined || end.getTime() > now).map(({ chain }) => chain);
}
