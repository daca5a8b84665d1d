import { AppError } from '../errors.js';
import { encodeName } from '../x509/name.js';
import { encodePem } from '../x509/pem.js';
import { type Issuer, signBelow, signRoot, validity } from './create.js';
import { checkProfile } from './profile-check.js';
import type { Signer } from './signer.js';

/** A certificate to be: whose key, under which common name, for how long. */
export interface Holder {
  readonly signer: Signer;
  readonly commonName: string;
  /** Days of 24 hours; cut to the issuer's. */
  readonly lifetimeDays: number;
}

/** Who takes part in a ceremony. The keys may live anywhere. */
export interface CeremonyPlan {
  readonly organization: string;
  readonly root: Holder;
  /** Absent when the ceremony makes a root alone. */
  readonly issuing?: Holder | undefined;
  readonly timestamping?: Holder | undefined;
  /** The root of the timestamp authority when it has one of its own. */
  readonly timestampRoot?: Holder | undefined;
  /** Milliseconds since the epoch: the certificates are valid from this second on. */
  readonly now: number;
  /** Unpredictable bytes for serial numbers. */
  readonly random: (size: number) => Uint8Array;
}

/** The certificates of a ceremony, each as PEM. */
export interface CeremonyCertificates {
  readonly root: string;
  readonly issuing?: string;
  readonly timestamping?: string;
  readonly timestampRoot?: string;
}

/**
 * Signs every certificate of a plan and checks the chains that they make against the profile; nothing is written. Throws
 * AppError STARTUP when a chain would break the profile, SIGNER_UNAVAILABLE when a key cannot sign.
 */
export async function holdCeremony(plan: CeremonyPlan): Promise<CeremonyCertificates> {
  const { issuing, timestamping, timestampRoot } = plan;
  const root = await makeRoot(plan, plan.root);
  const ownRoot = timestampRoot === undefined ? undefined : await makeRoot(plan, timestampRoot);
  const made = {
    root: pemOf(root.certificate),
    ...(issuing === undefined ? {} : { issuing: await makeBelow(plan, root, issuing, 'issuing') }),
    ...(timestamping === undefined
      ? {}
      : { timestamping: await makeBelow(plan, ownRoot ?? root, timestamping, 'timestamping') }),
    ...(ownRoot === undefined ? {} : { timestampRoot: pemOf(ownRoot.certificate) }),
  };
  for (const chain of chainsOf(made)) assertProfile(chain, plan.now);
  return made;
}

/** The chains of a ceremony, own certificate first and root last; a root without anything below it is one too. */
export function chainsOf({ root, issuing, timestamping, timestampRoot }: CeremonyCertificates): readonly string[] {
  const timestampChain = timestamping === undefined ? [] : [timestamping + (timestampRoot ?? root)];
  return [(issuing ?? '') + root, ...timestampChain];
}

async function makeRoot(plan: CeremonyPlan, holder: Holder): Promise<Issuer> {
  return { signer: holder.signer, certificate: await signRoot(holder.signer, fieldsOf(plan, holder)) };
}

async function makeBelow(
  plan: CeremonyPlan,
  issuer: Issuer,
  holder: Holder,
  role: 'issuing' | 'timestamping',
): Promise<string> {
  const spki = holder.signer.publicKey.export({ type: 'spki', format: 'der' });
  return pemOf(await signBelow(issuer, { ...fieldsOf(plan, holder), role, spki }));
}

function fieldsOf({ organization, now, random }: CeremonyPlan, { commonName, lifetimeDays }: Holder) {
  return { subject: encodeName({ organization, commonName }), ...validity(now, lifetimeDays), random };
}

function pemOf(der: Uint8Array): string {
  return encodePem('CERTIFICATE', der);
}

/** Throws AppError STARTUP with the first thing that is wrong with a chain that was just made. */
export function assertProfile(chain: string, now: number): void {
  const problem = checkProfile(chain, { now }).find(({ level }) => level === 'error');
  if (problem === undefined) return;
  throw new AppError('STARTUP', `the chain would break the profile, so nothing was written: ${problem.message}`);
}
