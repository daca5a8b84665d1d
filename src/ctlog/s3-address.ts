import { AppError } from '../errors.js';

/** Where in an S3-compatible store a log lives. */
export interface S3Address {
  readonly bucket: string;
  /** Put before every key as it is: empty, or ending in "/". */
  readonly prefix: string;
  /** Without one, the usual AWS environment decides. */
  readonly region?: string;
  /** URL of a store that is not AWS. */
  readonly endpoint?: string;
  /** `https://host/bucket/key` instead of `https://bucket.host/key`. */
  readonly pathStyle: boolean;
}

const expected = 's3://BUCKET/PREFIX?region=REGION&endpoint=URL&path-style=true';
const parameters = ['region', 'endpoint', 'path-style'];

/**
 * Parses `s3://bucket/prefix?region=…&endpoint=…&path-style=true`, of which only the bucket is needed. Credentials do
 * not belong there. Throws AppError STARTUP that begins with `setting`, the name of what was set.
 */
export function parseS3Address(text: string, setting: string): S3Address {
  const refuse = (found: string) => new AppError('STARTUP', `${setting}: ${found}; expected ${expected}`);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 's3:') throw refuse('the address of the object store is not an s3: URL');
  if (url.username !== '' || url.password !== '') {
    throw refuse('the address holds credentials, which come from the usual AWS environment instead');
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.host)) throw refuse(`"${url.host}" is not the name of a bucket`);
  const path = url.pathname.replace(/^\/+|\/+$/g, '');
  if (!/^([\w!'()*.-]+(\/[\w!'()*.-]+)*)?$/.test(path)) throw refuse(`"${path}" is not a usable prefix`);
  for (const name of url.searchParams.keys()) {
    if (!parameters.includes(name)) throw refuse(`the parameter "${name}" is not known`);
    if (url.searchParams.getAll(name).length > 1) throw refuse(`the parameter "${name}" is given twice`);
  }
  const pathStyle = url.searchParams.get('path-style') ?? 'false';
  if (pathStyle !== 'true' && pathStyle !== 'false') throw refuse(`path-style is "${pathStyle}"`);
  const endpoint = url.searchParams.get('endpoint');
  if (endpoint !== null && !isHttpUrl(endpoint)) throw refuse(`the endpoint "${endpoint}" is not an http or https URL`);
  const region = url.searchParams.get('region');
  return {
    bucket: url.host,
    prefix: path === '' ? '' : `${path}/`,
    pathStyle: pathStyle === 'true',
    ...(endpoint === null ? {} : { endpoint }),
    ...(region === null ? {} : { region }),
  };
}

/** Where the log with this number lies when the first one, whose number is '', lies at `first`: beside it. */
export function numberedAddress(first: S3Address, number: string): S3Address {
  if (number === '') return first;
  return { ...first, prefix: `${first.prefix.replace(/\/$/, '') || 'ctlog'}${number}/` };
}

/** The address as `parseS3Address` takes it. */
export function formatS3Address(address: S3Address): string {
  const { region, endpoint, pathStyle } = address;
  const parameters = new URLSearchParams({
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(pathStyle ? { 'path-style': 'true' } : {}),
  });
  return `${s3Name(address)}${parameters.size === 0 ? '' : `?${parameters}`}`;
}

/** The address without its parameters: names the log to people and in the database. */
export function s3Name({ bucket, prefix }: Pick<S3Address, 'bucket' | 'prefix'>): string {
  return `s3://${bucket}/${prefix}`.replace(/\/$/, '');
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}
