import { randomBytes } from 'node:crypto';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import { createKeySigner } from '../../src/ca/file-signer.js';
import type { Signer } from '../../src/ca/signer.js';
import { createAuthority, type TimestampAuthority } from '../../src/tsa/authority.js';
import { loadTsaChain } from '../../src/tsa/chain.js';
import { type GuardedClock, guardClock } from '../../src/tsa/clock.js';
import { createTsa } from '../../src/tsa/create.js';
import { encodePem } from '../../src/x509/pem.js';

export const now = Date.parse('2026-03-01T12:00:00.789Z');
export const policy = '1.3.6.1.4.1.57264.2';
export const oids = { sha256: '2.16.840.1.101.3.4.2.1', sha1: '1.3.14.3.2.26' } as const;

/** A clock that a test sets. */
export function testClock(options: { limitMs?: number; lowest?: () => number } = {}) {
  const state = { wall: now, monotonic: 5_000, jumps: [] as number[] };
  const guarded: GuardedClock = guardClock({
    clock: () => state.wall,
    monotonic: () => state.monotonic,
    limitMs: options.limitMs ?? 1000,
    steadyMs: 300_000,
    lowest: options.lowest ?? (() => 0),
    onJump: (byMs) => state.jumps.push(byMs),
  });
  return {
    guarded,
    state,
    /** Both clocks run on. */
    pass(ms: number): void {
      state.wall += ms;
      state.monotonic += ms;
    },
    set(byMs: number): void {
      state.wall += byMs;
    },
  };
}

export interface TestTsa {
  readonly authority: TimestampAuthority;
  readonly chain: readonly Uint8Array[];
  readonly signer: Signer;
  readonly time: ReturnType<typeof testClock>;
}

/** An authority in memory, as a first start makes it; `wrap` may spoil its signer. */
export async function openTestTsa(wrap: (signer: Signer) => Signer = (signer) => signer): Promise<TestTsa> {
  const { privateKey, chain } = await createTsa({ organization: 'test', now, random: randomBytes });
  const signer = wrap(createKeySigner(privateKey));
  const time = testClock();
  const authority = createAuthority({
    signer,
    chain: loadTsaChain(pemOf(chain), signer, now),
    policy,
    clock: time.guarded,
    wallClock: () => time.state.wall,
    random: randomBytes,
  });
  return { authority, chain, signer, time };
}

export function pemOf(chain: readonly Uint8Array[]): string {
  return chain.map((der) => encodePem('CERTIFICATE', der)).join('');
}

export interface QueryParts {
  readonly version?: number;
  readonly algorithm?: string;
  readonly parameters?: asn1js.BaseBlock | undefined;
  readonly digest?: Uint8Array;
  readonly policy?: string;
  readonly nonce?: Uint8Array;
  readonly certReq?: boolean;
  readonly extensions?: readonly pkijs.Extension[];
}

/** A DER TimeStampReq; what is not given is as openssl ts sends it. */
export function query(parts: QueryParts = {}): Uint8Array {
  const parameters = 'parameters' in parts ? parts.parameters : new asn1js.Null();
  const request = new pkijs.TimeStampReq({
    version: parts.version ?? 1,
    messageImprint: new pkijs.MessageImprint({
      hashAlgorithm: new pkijs.AlgorithmIdentifier({
        algorithmId: parts.algorithm ?? oids.sha256,
        ...(parameters === undefined ? {} : { algorithmParams: parameters }),
      }),
      hashedMessage: new asn1js.OctetString({ valueHex: parts.digest ?? new Uint8Array(32).fill(7) }),
    }),
    ...(parts.policy === undefined ? {} : { reqPolicy: parts.policy }),
    ...(parts.nonce === undefined ? {} : { nonce: new asn1js.Integer({ valueHex: parts.nonce }) }),
    ...(parts.certReq === undefined ? {} : { certReq: parts.certReq }),
    ...(parts.extensions === undefined ? {} : { extensions: [...parts.extensions] }),
  });
  return new Uint8Array(request.toSchema().toBER());
}

/** A TimeStampResp taken apart. */
export function readReply(der: Uint8Array) {
  const response = pkijs.TimeStampResp.fromBER(der);
  const failInfo = response.status.failInfo;
  const token = response.timeStampToken;
  const signedData = token === undefined ? undefined : new pkijs.SignedData({ schema: token.content });
  const content = signedData?.encapContentInfo.eContent?.valueBlock.valueHexView;
  return {
    status: response.status.status,
    text: (response.status.statusStrings ?? []).map((one) => one.valueBlock.value).join(),
    failureBit: failInfo === undefined ? undefined : lastBit(failInfo),
    signedData,
    content,
    info: content === undefined ? undefined : pkijs.TSTInfo.fromBER(Uint8Array.from(content)),
  };
}

/** The one bit that is set. */
function lastBit(bits: asn1js.BitString): number {
  const { valueHexView, unusedBits } = bits.valueBlock;
  return valueHexView.length * 8 - unusedBits - 1;
}
