import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collectFlags } from '../../src/config/flag-sources.js';
import { environmentName } from '../../src/config/flags.js';
import { parseDuration, serveConfig } from '../../src/config/serve.js';
import { AppError } from '../../src/errors.js';

const config = (cli: Record<string, string>, env: Record<string, string> = {}, file?: string) =>
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
  ['an unknown CA', { ca: 'filca' }, /--ca is "filca"; expected fileca or ephemeralca/],
  ['a CA that is not there yet', { ca: 'pkcs11ca' }, /PKCS#11 keys are not supported yet/],
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
