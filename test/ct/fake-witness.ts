import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import type { LogAnswer, LogTransport } from '../../src/ct/log-transport.js';
import { emptyRoot, verifyConsistency } from '../../src/ctlog/merkle.js';
import { formatLine, formatVerifierKey, keyIdOf, noteBody, signatureType } from '../../src/ctlog/witness-note.js';

/** What a witness got, decoded. */
export interface Asked {
  readonly oldSize: number;
  readonly proof: readonly Uint8Array[];
  readonly note: string;
  readonly size: number;
}

type Reply = Partial<Pick<LogAnswer, 'status'>> & { readonly body?: string };

/** A witness that does as c2sp.org/tlog-witness says, unless told otherwise. */
export interface FakeWitness {
  readonly vkey: string;
  readonly asked: readonly Asked[];
  readonly handle: (body: string) => Promise<LogAnswer>;
  /** What it answers in place of an honest answer; undefined gives that, a rejection is a network error. */
  behave(answer: (asked: Asked, honest: () => Reply) => Reply | Promise<Reply>): void;
  /** What it has seen last, as if it were another process's doing. */
  forget(size: number, root?: Uint8Array): void;
  cosign(note: string, timeMs: number): string;
}

export function fakeWitness(name = 'witness.example/w1'): FakeWitness {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key = { name, type: signatureType.cosignature, publicKey: rawKey(publicKey) };
  const asked: Asked[] = [];
  let seen = { size: 0, root: emptyRoot };
  let answer: Parameters<FakeWitness['behave']>[0] = (_asked, honest) => honest();

  function cosign(note: string, timeMs: number): string {
    const time = Buffer.alloc(8);
    time.writeBigUInt64BE(BigInt(Math.floor(timeMs / 1000)));
    const message = `cosignature/v1\ntime ${time.readBigUInt64BE()}\n${noteBody(note)}`;
    const signature = Buffer.concat([time, sign(null, Buffer.from(message), privateKey)]);
    return formatLine({ name, keyId: keyIdOf(key), signature });
  }

  function honest({ oldSize, proof, note, size }: Asked): Reply {
    const root = Buffer.from(noteBody(note).split('\n')[2] ?? '', 'base64');
    if (oldSize !== seen.size) return { status: 409, body: `${seen.size}\n` };
    const claim = { first: oldSize, second: size, firstRoot: seen.root, secondRoot: root, proof };
    if (!verifyConsistency(claim)) return oldSize === size ? { status: 409, body: `${size}\n` } : { status: 422 };
    seen = { size, root };
    return { body: cosign(note, Date.now()) };
  }

  return {
    vkey: formatVerifierKey(key),
    asked,
    cosign,
    behave: (next) => {
      answer = next;
    },
    forget: (size, root = createHash('sha256').update(String(size)).digest()) => {
      seen = { size, root };
    },
    async handle(body) {
      const request = parse(body);
      asked.push(request);
      const { status = 200, body: text = '' } = await answer(request, () => honest(request));
      return { status, body: Buffer.from(text), retryAfter: undefined };
    },
  };
}

/** A transport that leads to the witness whose host the URL names, and gives up when told to. */
export function transportTo(witnesses: Readonly<Record<string, FakeWitness>>): LogTransport {
  return {
    get: () => Promise.reject(new Error('a witness is only asked by POST')),
    post(url, text, { signal }) {
      const witness = witnesses[url.hostname];
      if (witness === undefined || url.pathname !== '/prefix/add-checkpoint') throw new Error(`asked at ${url.href}`);
      return new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true });
        witness.handle(text).then(resolve, reject);
      });
    },
    close: () => {},
  };
}

function parse(body: string): Asked {
  const split = body.indexOf('\n\n');
  const [old = '', ...proof] = body.slice(0, split).split('\n');
  const note = body.slice(split + 2);
  const [, digits = ''] = /^old (0|[1-9]\d*)$/.exec(old) ?? [];
  return {
    oldSize: Number(digits === '' ? Number.NaN : digits),
    proof: proof.map((line) => Buffer.from(line, 'base64')),
    note,
    size: Number(note.split('\n')[1]),
  };
}

function rawKey(key: KeyObject): Uint8Array {
  return Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');
}
