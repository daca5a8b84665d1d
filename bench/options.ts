import { parseArgs } from 'node:util';
import type { Api, RequestForm, TokenAlgorithm } from './lib/corpus.js';

/** One kind of load: what is asked, of which CA, with which tokens. */
export interface Variant {
  readonly api: Api;
  readonly ca: 'P-256' | 'P-384';
  readonly token: TokenAlgorithm;
  readonly form: RequestForm;
}

export interface BenchOptions {
  readonly variants: readonly Variant[];
  readonly connections: readonly number[];
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly alternations: number;
  readonly requests: number;
  /** Fulcio's binary; undefined without a peer. */
  readonly peer: string | undefined;
  readonly peerCtLogUrl: string | undefined;
  readonly main: string;
  readonly node: string;
  /** Further flags of `mayfly serve`. */
  readonly flags: readonly string[];
  /** Where the data directories are made. */
  readonly dir: string;
}

export const usage = `npm run bench -- [options]        certificates a second of a fresh Mayfly, log on
  --connections   1,16,64,256
  --seconds       of each measurement (8), after --warm-up seconds (4) at 16 connections
  --alternations  runs of every target, one after the other (1; 5 with --peer)
  --requests      distinct tokens and keys (20000)
  --api           v2 (or v1, grpc; several with commas; grpc needs ghz, see test/interop/setup.sh)
  --ca            P-256 (or P-384)
  --token         RS256 (or ES256, EdDSA)
  --form          key (or csr)
  --matrix        each api, CA, token algorithm and form in turn, at 64 connections
  --peer          alternates with Fulcio without a log (.cache/interop/bin/fulcio, or --peer-binary) and prints ratios
  --peer-ct-log   URL of an RFC 6962 log: Fulcio with a log as a third target
  --workers       as in mayfly serve; other flags of serve go after --
  --node          the Node that runs Mayfly (this one)
  --main          the Mayfly to run (dist/main.js: npm run build first)
  --dir           a directory on the disk to measure (.cache)
  --short         a minute's worth: 2,000 tokens, 1 and 64 connections, 3 seconds`;

const strings = (fallback: string) => ({ type: 'string', default: fallback }) as const;

/** Reads the command line; throws Error saying what is wrong with it. Undefined when help was asked for. */
export function benchOptions(argv: readonly string[]): BenchOptions | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      connections: { type: 'string' },
      seconds: { type: 'string' },
      'warm-up': { type: 'string' },
      alternations: { type: 'string' },
      requests: { type: 'string' },
      api: strings('v2'),
      ca: strings('P-256'),
      token: strings('RS256'),
      form: strings('key'),
      matrix: { type: 'boolean', default: false },
      peer: { type: 'boolean', default: false },
      'peer-binary': strings('.cache/interop/bin/fulcio'),
      'peer-ct-log': { type: 'string' },
      workers: { type: 'string' },
      node: strings(process.execPath),
      main: strings('dist/main.js'),
      dir: strings('.cache'),
      short: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { short, matrix } = values;
  const lists = {
    api: oneOf('api', values.api, ['v2', 'v1', 'grpc']),
    ca: oneOf('ca', values.ca, ['P-256', 'P-384']),
    token: oneOf('token', values.token, ['RS256', 'ES256', 'EdDSA']),
    form: oneOf('form', values.form, ['key', 'csr']),
  };
  return {
    variants: matrix ? matrixVariants() : crossed(lists),
    connections: numbers('connections', values.connections ?? (matrix ? '64' : short ? '1,64' : '1,16,64,256')),
    seconds: one('seconds', values.seconds ?? (short ? '3' : '8')),
    warmUpSeconds: one('warm-up', values['warm-up'] ?? (short ? '2' : '4')),
    alternations: one('alternations', values.alternations ?? (values.peer ? '5' : '1')),
    requests: one('requests', values.requests ?? (short ? '2000' : '20000')),
    peer: values.peer ? values['peer-binary'] : undefined,
    peerCtLogUrl: values['peer-ct-log'],
    main: values.main,
    node: values.node,
    flags: [...(values.workers === undefined ? [] : ['--workers', values.workers]), ...positionals],
    dir: values.dir,
  };
}

/** The usual load, and every other value of each property beside it. */
function matrixVariants(): Variant[] {
  const usual: Variant = { api: 'v2', ca: 'P-256', token: 'RS256', form: 'key' };
  const others: readonly Partial<Variant>[] = [
    { api: 'v1' },
    { api: 'grpc' },
    { ca: 'P-384' },
    { token: 'ES256' },
    { token: 'EdDSA' },
    { form: 'csr' },
  ];
  return [usual, ...others.map((other) => ({ ...usual, ...other }))];
}

type Lists = { readonly [K in keyof Variant]: readonly Variant[K][] };

function crossed(lists: Lists): Variant[] {
  return lists.api.flatMap((api) =>
    lists.ca.flatMap((ca) =>
      lists.token.flatMap((token) => lists.form.map((form): Variant => ({ api, ca, token, form }))),
    ),
  );
}

function oneOf<const T extends string>(name: string, text: string, allowed: readonly T[]): T[] {
  return text.split(',').map((part) => {
    const found = allowed.find((value) => value === part);
    if (found === undefined) throw new Error(`--${name} is "${part}"; expected ${allowed.join(' or ')}`);
    return found;
  });
}

function numbers(name: string, text: string): number[] {
  return text.split(',').map((part) => {
    if (!/^[1-9]\d*$/.test(part)) throw new Error(`--${name} is "${part}"; expected a number above zero`);
    return Number(part);
  });
}

const one = (name: string, text: string): number => numbers(name, text)[0] ?? 0;
