import type { KeyObject } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CertificateAuthority } from '../ca/authority.js';
import { AppError, toAppError } from '../errors.js';
import {
  type CertificateOrder,
  type Completed,
  type CompletionOrder,
  certify,
  complete,
  type IssuingKey,
  type Precertified,
  type PrecertOrder,
  precertify,
} from './steps.js';

/** Who does the part of an issuance that costs processor time: this thread, or others. Throws as the steps do. */
export interface CertificateWork {
  precertify(order: PrecertOrder, ca: CertificateAuthority): Promise<Precertified>;
  certify(order: CertificateOrder, ca: CertificateAuthority): Promise<Uint8Array>;
  /** For a CA whose key is in this process; begins in a later turn of the event loop. */
  complete(order: CompletionOrder, ca: CertificateAuthority, logKey: KeyObject): Promise<Completed>;
  threads(): ThreadLoad;
  close(): Promise<void>;
}

/** Threads beside the calling one: those that run, those of them that have something to do, and all that they have to do. */
export interface ThreadLoad {
  readonly alive: number;
  readonly busy: number;
  readonly jobs: number;
}

/** The work done in the calling thread, the slow part of its cryptography on libuv's pool. */
export const localWork: CertificateWork = {
  precertify: (order, ca) => precertify(order, issuingKey(ca)),
  certify: (order, ca) => certify(order, issuingKey(ca)),
  async complete(order, ca, logKey) {
    await nextTurn();
    return complete(order, issuingKey(ca), logKey);
  },
  threads: () => ({ alive: 0, busy: 0, jobs: 0 }),
  close: () => Promise.resolve(),
};

/** A CA as the steps need it; a signer that fails is SIGNER_UNAVAILABLE, whatever it says. */
export function issuingKey({ signer, subjectName, subjectKeyId, issuerKeyHash }: CertificateAuthority): IssuingKey {
  return {
    signatureAlgorithm: signer.signatureAlgorithm,
    issuerName: subjectName,
    authorityKeyId: subjectKeyId,
    issuerKeyHash,
    async sign(tbs) {
      try {
        return await signer.sign(tbs);
      } catch (error) {
        const known = toAppError(error);
        if (known.code !== 'INTERNAL') throw known;
        throw new AppError('SIGNER_UNAVAILABLE', 'the key of the certificate authority cannot sign now', {
          cause: error,
          retryAfterSeconds: 5,
        });
      }
    },
  };
}
