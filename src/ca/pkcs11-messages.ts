import { z } from 'zod';
import type { Pkcs11Config } from './pkcs11-config.js';

/** What the process that holds the PKCS#11 module is asked; every request has a number that its answer repeats. */
export type TokenRequest =
  | { readonly id: number; readonly do: 'open'; readonly open: OpenRequest }
  | { readonly id: number; readonly do: 'sign'; readonly mechanism: number; readonly input: Uint8Array };

/** Loads the module, logs in and looks for the key; the first request of every process. */
export interface OpenRequest extends Pkcs11Config {
  readonly keyLabel: string;
}

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

const openAnswer = z.object({
  key: z.discriminatedUnion('type', [
    z.object({ type: z.literal('rsa'), modulus: bytes, publicExponent: bytes }),
    z.object({ type: z.literal('ec'), params: bytes, point: bytes }),
    z.object({ type: z.literal('eddsa'), point: bytes }),
  ]),
  /** Every certificate in the token, DER. */
  certificates: z.array(z.object({ id: bytes, der: bytes })),
});

/** The key and what else is in the token. */
export type OpenAnswer = z.infer<typeof openAnswer>;

const answer = z.object({
  id: z.number(),
  opened: openAnswer.optional(),
  signature: bytes.optional(),
  error: z.object({ message: z.string(), pinRefused: z.boolean() }).optional(),
});

export type TokenAnswer = z.infer<typeof answer>;

/** An answer as it came from the other process; throws when it is none. */
export const parseTokenAnswer = (message: unknown): TokenAnswer => answer.parse(message);
