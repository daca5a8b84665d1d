import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collectFlags, type FlagsGiven } from '../../src/config/flag-sources.js';
import { environmentName } from '../../src/config/flags.js';
import { parseDuration, serveConfig } from '../../src/config/serve.js';
import { AppError } from '../../src/errors.js';

const config = (cli: FlagsGiven, env: Record<string, string> = {}, file?: string) =>
  serveConfig(collectFlags(cli, env, file));

function settingsFile(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), 'mayfly-config-')), 'settings.yaml');
  writeFileSync(file, text);
  return file;
}

function detailOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof AppError && error.code === 'STARTUP') return error.detail;
    throw error;
  }
  return 'no error';
}

test('without any setting, the defaults are those of Fulcio, with the embedded log and the data directory', () => {
  expect(config({})).toMatchObject({
    http: { host: '0.0.0.0', port: 8080 },
    grpc: { host: '0.0.0.0', port: 8081 },
    metrics: { host: '0.0.0.0', port: 2112 },
    identityConfigPath: '/etc/fulcio-config/config.yaml',
    ca: { kind: 'data-directory' },
    ctLog: { kind: 'embedded' },
    certificateLifetimeMs: 600_000,
    notices: [],
  });
});

test('the command line wins over the environment, and that over the file', () => {
  const file = settingsFile('port: 1\ngrpc-port: 2\nmetrics-port: "3"\n');
  const env = { FULCIO_SERVE_PORT: '4', FULCIO_SERVE_GRPC_PORT: '5' };
  const settings = config({ port: '6' }, env, file);
  expect([settings.http.port, settings.grpc.port, settings.metrics.port]).toEqual([6, 5, 3]);
});

test('http-host and http-port are other names of host and port', () => {
  expect(config({ 'http-host': '127.0.0.1', 'http-port': '0' }).http).toEqual({ host: '127.0.0.1', port: 0 });
  expect(config({}, { FULCIO_SERVE_HTTP_PORT: '9' }).http.port).toBe(9);
});

test('an explicit empty ct-log-url turns the log off, on the command line and in the file', () => {
  expect(config({ 'ct-log-url': '' }).ctLog).toEqual({ kind: 'none' });
  expect(config({}, {}, settingsFile('ct-log-url: ""')).ctLog).toEqual({ kind: 'none' });
});

const keys = ['a.pem', 'b.pem'];

test('ct-log-url may be repeated, each with the key in the same place, on the command line and in the file', () => {
  const urls = ['https://a.example/x', 'https://b.example/y'];
  const log = (url?: string, path?: string) => ({
    kind: 'external',
    url,
    publicKey: { setting: '--ct-log-public-key-path', path },
    tlsCa: { setting: '--ct-log.tls-ca-cert', path: 'ca.pem' },
    timeoutMs: 8000,
    embed: true,
  });
  const both = { kind: 'several', required: 1, logs: [log(urls[0], keys[0]), log(urls[1], keys[1])] };
  const cli = { 'ct-log-url': urls, 'ct-log-public-key-path': keys, 'ct-log.tls-ca-cert': 'ca.pem' };
  expect(config(cli).ctLog).toEqual(both);
  expect(config({}, {}, settingsFile(JSON.stringify(cli))).ctLog).toEqual(both);
});

test('one log is said as Fulcio has it, in each source of settings', () => {
  const flags = { 'ct-log-url': 'http://l/x', 'ct-log-public-key-path': 'k.pem', 'ct-log-origin': 'l.internal' };
  const expected = {
    kind: 'several',
    required: 1,
    logs: [
      {
        kind: 'external',
        url: 'http://l/x',
        publicKey: { setting: '--ct-log-public-key-path', path: 'k.pem' },
        origin: 'l.internal',
        timeoutMs: 8000,
        embed: true,
      },
    ],
  };
  const env = Object.fromEntries(Object.entries(flags).map(([name, value]) => [environmentName(name), value]));
  expect(config(flags).ctLog).toEqual(expected);
  expect(config({}, env).ctLog).toEqual(expected);
  expect(config({}, {}, settingsFile(JSON.stringify(flags))).ctLog).toEqual(expected);
});

test('an environment variable holds one value, commas and all', () => {
  const env = { FULCIO_SERVE_CT_LOG_URL: 'http://l/a,b', FULCIO_SERVE_CT_LOG_PUBLIC_KEY_PATH: '/keys/a,b.pem' };
  expect(config({}, env).ctLog).toMatchObject({
    logs: [{ url: 'http://l/a,b', publicKey: { path: '/keys/a,b.pem' } }],
  });
});

test('ct-logs-config names a file with the logs, and their timeout unless they have one', () => {
  const file = settingsFile('logs: [{url: "http://l/x", public-key: k.pem}, {embedded: true, embed: false}]');
  const { ctLog } = config({ 'ct-logs-config': file, 'ct-log-timeout': '1s' });
  expect(ctLog).toMatchObject({ kind: 'several', required: 1, logs: [{ timeoutMs: 1000 }, { kind: 'embedded' }] });
});

test('several SCTs in a certificate are warned about', () => {
  const file = settingsFile('required: 2\nlogs: [{url: "http://l/x", public-key: k.pem}, {embedded: true}]');
  expect(config({ 'ct-logs-config': file }).notices).toEqual([expect.stringContaining('sigstore-python refuses')]);
});

test.each<[string, FlagsGiven, RegExp]>([
  [
    'more logs than keys',
    { 'ct-log-url': ['http://a', 'http://b'], 'ct-log-public-key-path': 'a.pem' },
    /^--ct-log-url names 2 logs, but --ct-log-public-key-path names 1: each log needs its key, in the same order$/,
  ],
  ['more keys than logs', { 'ct-log-url': 'http://a', 'ct-log-public-key-path': keys }, /names a log, but .* names 2/],
  ['"" among logs', { 'ct-log-url': ['http://a', ''], 'ct-log-public-key-path': keys }, /--ct-log-url is ""; expected/],
  [
    'one Host header for two logs',
    { 'ct-log-url': ['http://a', 'http://b'], 'ct-log-public-key-path': keys, 'ct-log-origin': 'o' },
    /--ct-log-origin is the Host header of one log; with several use --ct-logs-config/,
  ],
  ['two ways to name logs', { 'ct-log-url': '', 'ct-logs-config': 'f' }, /--ct-logs-config and --ct-log-url both name/],
  ['a file of logs that is not there', { 'ct-logs-config': '/nonexistent/f' }, /cannot read \/nonexistent\/f/],
  ['a port given as a list', { port: ['1', '2'] }, /^--port takes one value; found 2$/],
])('refuses %s', (_name, cli, reason) => {
  expect(detailOf(() => config(cli))).toMatch(reason);
});

test('a flag without effect is told to the operator', () => {
  expect(config({ 'legacy-unix-domain-socket': '@x' }).notices).toEqual([
    expect.stringMatching(/^--legacy-unix-domain-socket has no effect: /),
  ]);
});

test.each([
  ['a port out of range', { port: '70000' }, /^--port is "70000"; expected a port from 0 to 65535$/],
  ['a port that is a word', { 'grpc-port': 'x' }, /^--grpc-port is "x"/],
  ['a boolean that is none', { 'allow-private-issuers': 'maybe' }, /true or false/],
  ['a duration without a unit', { 'request-timeout': '10' }, /--request-timeout is "10"; expected a duration/],
  ['an unknown CA', { ca: 'filca' }, /--ca is "filca"; expected fileca, pkcs11ca/],
  ['a PKCS#11 CA without certificate', { ca: 'pkcs11ca' }, /--ca pkcs11ca needs --hsm-caroot-id/],
  [
    'a PKCS#11 CA with two chains',
    { ca: 'pkcs11ca', 'hsm-cert-chain-path': 'a.pem', 'aws-hsm-root-ca-path': 'b.pem' },
    /--hsm-cert-chain-path and --aws-hsm-root-ca-path both name the chain/,
  ],
  ['fileca without a certificate', { ca: 'fileca' }, /needs --fileca-cert/],
  ['fileca without a key', { ca: 'fileca', 'fileca-cert': 'c' }, /needs --fileca-key/],
  ['an external log without its key', { 'ct-log-url': 'http://l/x' }, /--ct-log-public-key-path/],
  ['a log URL that is none', { 'ct-log-url': 'log.example' }, /--ct-log-url is "log.example"; expected an http/],
  ['a public URL with a query', { 'public-url': 'http://a/?b' }, /--public-url/],
  ['half a TLS pair', { 'grpc-tls-key': 'k' }, /--grpc-tls-certificate is missing/],
])('refuses %s, naming the flag', (_name, cli, reason) => {
  expect(detailOf(() => config(cli as Record<string, string>))).toMatch(reason);
});

test('an unknown key of the settings file is named with its file and a suggestion', () => {
  const file = settingsFile('prot: 1\n');
  expect(detailOf(() => config({}, {}, file))).toBe(`${file}: unknown setting "prot"; did you mean "port"?`);
});

test('a settings file that is missing or no mapping is named', () => {
  expect(detailOf(() => config({}, {}, '/nonexistent/x.yaml'))).toMatch(/cannot read the settings file \/nonexistent/);
  expect(detailOf(() => config({}, {}, settingsFile('- a')))).toMatch(/expected a mapping/);
});

test.each([
  ['10s', 10_000],
  ['1h30m', 5_400_000],
  ['500ms', 500],
  ['1.5s', 1500],
  ['10', undefined],
  ['', undefined],
  ['s', undefined],
])('parseDuration(%j) is %j', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test('environment names replace dashes and dots', () => {
  expect(environmentName('ct-log.tls-ca-cert')).toBe('FULCIO_SERVE_CT_LOG_TLS_CA_CERT');
});
