import type { S3Client } from '@aws-sdk/client-s3';
import { AppError, messageOf } from '../errors.js';
import { type S3Address, s3Name } from './s3-address.js';

export interface S3Options extends S3Address {
  /** Longest time of one attempt of one call; 5 s unless told. */
  readonly attemptTimeoutMs?: number;
  /** Longest time of a call with all its attempts; 15 s unless told. */
  readonly timeoutMs?: number;
  /** Attempts of a call that failed in the network or in the store; 3 unless told. */
  readonly attempts?: number;
  /** Instead of those of the usual AWS environment. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** An object as it was read; `etag` names this version of it. */
export interface S3Object {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

export interface ObjectHeaders {
  readonly type: string;
  readonly cacheControl: string;
}

/**
 * The few operations on objects that a log needs; keys are relative to the prefix. What was written is durable and
 * visible when the call resolves: that is what S3 promises. Each call has a time limit and a bounded number of
 * attempts, so a write that rejects may have happened, or happen later.
 */
export interface ObjectStore {
  readonly name: string;
  get(key: string): Promise<S3Object | undefined>;
  put(key: string, bytes: Uint8Array, headers: ObjectHeaders): Promise<void>;
  /** Writes an object that is not there yet; `exists` when there is one, of whatever content. */
  create(key: string, bytes: Uint8Array, headers: ObjectHeaders): Promise<'created' | 'exists'>;
  /** Replaces the version `etag` of an object; resolves with the new version, or undefined when it is another by now. */
  replace(key: string, bytes: Uint8Array, headers: ObjectHeaders, etag: string): Promise<string | undefined>;
  /** All keys that begin with `prefix`. */
  list(prefix: string): Promise<string[]>;
  remove(keys: readonly string[]): Promise<void>;
  close(): void;
}

type Sdk = typeof import('@aws-sdk/client-s3');

/** Answers to a conditional write whose condition does not hold, or whose object another write is just changing. */
const conditionFailed = [412, 409];
const maxRemovals = 1000;

/**
 * Opens a bucket; nothing is asked of it yet. Throws AppError STARTUP when the package @aws-sdk/client-s3, which is
 * loaded only here, is not installed.
 */
export async function openS3(options: S3Options): Promise<ObjectStore> {
  const sdk = await loadSdk();
  const { attemptTimeoutMs = 5_000, attempts = 3 } = options;
  const client = new sdk.S3Client({
    forcePathStyle: options.pathStyle,
    maxAttempts: attempts,
    requestHandler: {
      connectionTimeout: attemptTimeoutMs,
      requestTimeout: attemptTimeoutMs,
      throwOnRequestTimeout: true,
    },
    // Checksums beyond those of the protocol are refused by some stores that are not AWS.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // A store that is not AWS has no regions, but requests are signed for one.
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint, region: 'us-east-1' }),
    ...(options.region === undefined ? {} : { region: options.region }),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
  });
  return new S3Store(sdk, client, options);
}

async function loadSdk(): Promise<Sdk> {
  try {
    return await import('@aws-sdk/client-s3');
  } catch (cause) {
    throw new AppError(
      'STARTUP',
      `a log in an object store needs the package @aws-sdk/client-s3, which cannot be loaded (${messageOf(cause)}): ` +
        'run "npm install @aws-sdk/client-s3" beside mayfly, or keep the log in a directory',
      { cause },
    );
  }
}

class S3Store implements ObjectStore {
  readonly name: string;
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #timeoutMs: number;

  constructor(sdk: Sdk, client: S3Client, options: S3Options) {
    this.name = s3Name(options);
    this.#sdk = sdk;
    this.#client = client;
    this.#bucket = options.bucket;
    this.#prefix = options.prefix;
    this.#timeoutMs = options.timeoutMs ?? 15_000;
  }

  async get(key: string): Promise<S3Object | undefined> {
    const command = new this.#sdk.GetObjectCommand(this.#at(key));
    return this.#call('read', key, async (abortSignal) => {
      try {
        const { Body, ETag } = await this.#client.send(command, { abortSignal });
        if (Body === undefined || ETag === undefined) throw new Error('the answer holds no object');
        return { bytes: await Body.transformToByteArray(), etag: ETag };
      } catch (error) {
        if (nameOf(error) === 'NoSuchKey') return undefined;
        throw error;
      }
    });
  }

  async put(key: string, bytes: Uint8Array, headers: ObjectHeaders): Promise<void> {
    await this.#put(key, bytes, headers, {});
  }

  async create(key: string, bytes: Uint8Array, headers: ObjectHeaders): Promise<'created' | 'exists'> {
    const etag = await this.#put(key, bytes, headers, { IfNoneMatch: '*' });
    return etag === undefined ? 'exists' : 'created';
  }

  replace(key: string, bytes: Uint8Array, headers: ObjectHeaders, etag: string): Promise<string | undefined> {
    return this.#put(key, bytes, headers, { IfMatch: etag });
  }

  async list(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    let token: string | undefined;
    do {
      const command = new this.#sdk.ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: this.#prefix + prefix,
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      const page = await this.#call('list', prefix, (abortSignal) => this.#client.send(command, { abortSignal }));
      for (const { Key } of page.Contents ?? []) if (Key !== undefined) keys.push(Key.slice(this.#prefix.length));
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    return keys;
  }

  async remove(keys: readonly string[]): Promise<void> {
    for (let from = 0; from < keys.length; from += maxRemovals) {
      const some = keys.slice(from, from + maxRemovals);
      const command = new this.#sdk.DeleteObjectsCommand({
        Bucket: this.#bucket,
        Delete: { Quiet: true, Objects: some.map((key) => ({ Key: this.#prefix + key })) },
      });
      await this.#call('remove', some[0] ?? '', async (abortSignal) => {
        const { Errors: [failed] = [] } = await this.#client.send(command, { abortSignal });
        if (failed !== undefined) throw new Error(`${failed.Key ?? 'an object'}: ${failed.Code ?? 'unknown error'}`);
      });
    }
  }

  close(): void {
    this.#client.destroy();
  }

  /** The new version, or undefined when the condition does not hold. */
  async #put(
    key: string,
    bytes: Uint8Array,
    { type, cacheControl }: ObjectHeaders,
    condition: { IfMatch?: string; IfNoneMatch?: string },
  ): Promise<string | undefined> {
    const command = new this.#sdk.PutObjectCommand({
      ...this.#at(key),
      ...condition,
      Body: bytes,
      ContentType: type,
      CacheControl: cacheControl,
    });
    return this.#call('write', key, async (abortSignal) => {
      try {
        const { ETag } = await this.#client.send(command, { abortSignal });
        if (ETag === undefined) throw new Error('the answer holds no ETag');
        return ETag;
      } catch (error) {
        if (Object.keys(condition).length > 0 && isConditionFailure(error)) return undefined;
        throw error;
      }
    });
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }

  async #call<T>(doing: string, key: string, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    // The SDK does not end the reading of a body that stalls.
    const late = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    try {
      return await Promise.race([call(signal), late]);
    } catch (cause) {
      const why = signal.aborted ? `no answer within ${this.#timeoutMs} ms` : `${nameOf(cause)}: ${messageOf(cause)}`;
      throw new Error(`cannot ${doing} ${this.name}/${key}: ${why}`, { cause });
    }
  }
}

function nameOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'name' in error ? String(error.name) : 'Error';
}

/** An object that is gone is not the version that was to be replaced either. */
function isConditionFailure(error: unknown): boolean {
  if (nameOf(error) === 'NoSuchKey') return true;
  const { $metadata: { httpStatusCode } = {} } = error as { $metadata?: { httpStatusCode?: number } };
  return httpStatusCode !== undefined && conditionFailed.includes(httpStatusCode);
}
