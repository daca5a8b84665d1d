import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { readPublicChain } from '../ca/life-cycle-keys.js';
import { isHttpUrl } from '../config/ct-logs.js';
import { AppError, messageOf } from '../errors.js';
import { operatorOf, type TrustedAuthority, type TrustedRekor, type TrustMaterial } from './material.js';

/** Services beside this instance that its clients are to use and believe. */
export type OperatorServices = Required<Pick<TrustMaterial, 'rekors' | 'tsas'>>;

export const noServices: OperatorServices = { rekors: [], tsas: [] };

const url = z.string().refine(isHttpUrl, 'expected an http or https URL');
const time = z.union([z.iso.datetime({ offset: true }), z.date()]).transform((value) => new Date(value));
const period = { 'valid-from': time.optional(), 'valid-until': time.optional(), operator: z.string().optional() };
const document = z.strictObject({
  rekor: z
    .array(
      z.strictObject({
        url,
        'public-key': z.string(),
        'api-version': z.union([z.literal(1), z.literal(2)]).default(1),
        /** The name in the checkpoints of a Rekor 2, if not the host of its URL. */
        origin: z.string().optional(),
        ...period,
      }),
    )
    .default([]),
  tsa: z.array(z.strictObject({ url, 'certificate-chain': z.string(), ...period })).default([]),
});

/**
 * Reads the file of --trust-config, YAML: the transparency logs (Rekor) and timestamp authorities that the operator runs
 * beside this instance. Keys and chains are PEM, in place or as a path relative to the file. Throws AppError STARTUP naming the
 * file and the setting that is wrong.
 */
export function readTrustConfig(file: string | undefined): OperatorServices {
  if (file === undefined) return noServices;
  const { rekor, tsa } = parsed(file);
  return {
    rekors: rekor.map((entry, index) => toRekor(entry, file, `${file}: rekor[${index}]`)),
    tsas: tsa.map((entry, index) => toTsa(entry, file, `${file}: tsa[${index}]`)),
  };
}

type Document = z.infer<typeof document>;

function parsed(file: string): Document {
  let value: unknown;
  try {
    value = parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new AppError('STARTUP', `--trust-config: cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
  const result = document.safeParse(value ?? {});
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = (issue?.path ?? [])
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('');
  throw new AppError(
    'STARTUP',
    `${file}: ${where.slice(1)}${where === '' ? '' : ': '}${issue?.message ?? 'cannot be read'}`,
  );
}

function toRekor(entry: Document['rekor'][number], file: string, where: string): TrustedRekor {
  const pem = pemOf(entry['public-key'], file, `${where}.public-key`);
  const majorApiVersion = entry['api-version'];
  return {
    baseUrl: entry.url,
    publicKey: publicKeyOf(pem, `${where}.public-key`),
    majorApiVersion,
    ...(majorApiVersion === 2 ? { origin: entry.origin ?? operatorOf(entry.url) } : {}),
    validFor: periodOf(entry, new Date(0), where),
    operator: entry.operator ?? operatorOf(entry.url),
  };
}

function toTsa(entry: Document['tsa'][number], file: string, where: string): TrustedAuthority {
  const setting = `${where}.certificate-chain`;
  const { chain, notBefore } = readPublicChain(pemOf(entry['certificate-chain'], file, setting), setting);
  return {
    chain,
    uri: entry.url,
    validFor: periodOf(entry, notBefore, where),
    operator: entry.operator ?? operatorOf(entry.url),
  };
}

function periodOf(
  entry: { 'valid-from'?: Date | undefined; 'valid-until'?: Date | undefined },
  fallback: Date,
  where: string,
) {
  const start = entry['valid-from'] ?? fallback;
  const end = entry['valid-until'];
  if (end !== undefined && end <= start) {
    throw new AppError(
      'STARTUP',
      `${where}: valid-until is ${end.toISOString()}; expected a time after ${start.toISOString()}`,
    );
  }
  return { start, ...(end === undefined ? {} : { end }) };
}

function publicKeyOf(pem: string, setting: string): Uint8Array {
  try {
    return createPublicKey(pem).export({ type: 'spki', format: 'der' });
  } catch (cause) {
    throw new AppError('STARTUP', `${setting} is no PEM public key: ${messageOf(cause)}`, { cause });
  }
}

function pemOf(given: string, file: string, setting: string): string {
  if (given.includes('-----BEGIN ')) return given;
  const path = resolve(dirname(file), given);
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AppError('STARTUP', `${setting}: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
