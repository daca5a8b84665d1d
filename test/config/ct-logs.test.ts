import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { type CtLogChoice, ctLogNotices, readCtLogsFile, usesEmbeddedLog } from '../../src/config/ct-logs.js';
import { AppError } from '../../src/errors.js';

const dir = mkdtempSync(join(tmpdir(), 'mayfly-ct-logs-'));

function file(text: string): string {
  const path = join(dir, 'logs.yaml');
  writeFileSync(path, text);
  return path;
}

const read = (text: string): Extract<CtLogChoice, { kind: 'several' }> => readCtLogsFile(file(text), 8000);

function detailOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof AppError && error.code === 'STARTUP') return error.detail;
    throw error;
  }
  return 'no error';
}

test('a list of logs says everything about each; paths are relative to its file', () => {
  const pem = '-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n';
  const choice = read(`
required: 2
logs:
  - url: https://log.example/2026
    public-key: keys/a.pem
  - url: https://other.example/x
    monitoring-url: https://tiles.other.example/x
    public-key: |
${pem.replaceAll(/^/gm, '      ')}
    tls-ca-cert: /etc/ca.pem
    timeout: 500ms
    origin: other.internal
    embed: true
  - embedded: true
    embed: false
`);
  expect(choice.required).toBe(2);
  const where = `${join(dir, 'logs.yaml')}: logs`;
  expect(choice.logs).toEqual([
    {
      kind: 'external',
      url: 'https://log.example/2026',
      publicKey: { setting: `${where}[0].public-key`, path: join(dir, 'keys/a.pem') },
      timeoutMs: 8000,
      embed: true,
    },
    {
      kind: 'external',
      url: 'https://other.example/x',
      monitoringUrl: 'https://tiles.other.example/x',
      publicKey: { setting: `${where}[1].public-key`, pem: expect.stringContaining('BEGIN PUBLIC KEY') },
      tlsCa: { setting: `${where}[1].tls-ca-cert`, path: '/etc/ca.pem' },
      timeoutMs: 500,
      origin: 'other.internal',
      embed: true,
    },
    { kind: 'embedded', embed: false },
  ]);
});

const one = '- {url: "http://l/x", public-key: k.pem}';

test('one SCT is required unless more are asked for, and more are warned about', () => {
  expect(ctLogNotices(read(`logs:\n  ${one}`))).toEqual([]);
  const two = read(`required: 2\nlogs:\n  ${one}\n  - embedded: true`);
  expect(ctLogNotices(two)).toEqual([
    'certificates carry 2 SCTs (required: 2): sigstore-python refuses a certificate with more than one, and cosign ' +
      'refuses one with an SCT of a log whose key it was not given',
  ]);
});

test('the embedded log is in use when it is the default or one of several', () => {
  expect(usesEmbeddedLog({ kind: 'embedded' })).toBe(true);
  expect(usesEmbeddedLog({ kind: 'none' })).toBe(false);
  expect(usesEmbeddedLog(read(`logs:\n  ${one}\n  - {embedded: true, embed: false}`))).toBe(true);
  expect(usesEmbeddedLog(read(`logs:\n  ${one}`))).toBe(false);
});

test.each([
  ['no YAML', 'logs: [', /cannot read/],
  ['an empty file', '', /logs\.yaml: Invalid input/],
  ['no log', 'logs: []', /logs\.yaml: logs: /],
  ['a setting nobody knows', `requires: 1\nlogs:\n  ${one}`, /unknown setting "requires"; did you mean "required"\?/],
  ['a setting of a log nobody knows', 'logs: [{url: "http://l/x", key: k}]', /logs\[0\]/],
  ['a log without a key', 'logs: [{url: "http://l/x"}]', /logs\[0\]: public-key: /],
  ['a URL that is none', 'logs: [{url: l, public-key: k}]', /logs\[0\]\.url is "l"; expected an http or https URL/],
  [
    'a monitoring URL that is none',
    'logs: [{url: "http://l", public-key: k, monitoring-url: m}]',
    /monitoring-url is "m"/,
  ],
  ['a timeout without a unit', 'logs: [{url: "http://l", public-key: k, timeout: "8"}]', /timeout is "8"; expected/],
  ['a timeout of zero', 'logs: [{url: "http://l", public-key: k, timeout: 0s}]', /timeout is "0s"; expected/],
  ['the embedded log with a URL', 'logs: [{embedded: true, url: "http://l"}]', /unknown setting "url"/],
  ['"embedded: false"', 'logs: [{embedded: false}]', /logs\[0\]: embedded: /],
  ['the embedded log twice', 'logs: [{embedded: true}, {embedded: true}]', /stands twice/],
  ['no SCT required', `required: 0\nlogs:\n  ${one}`, /required: /],
  ['half an SCT', `required: 1.5\nlogs:\n  ${one}`, /required: /],
  ['more SCTs than logs', `required: 2\nlogs:\n  ${one}`, /required is 2, but 1 of the logs is to be embedded/],
  ['no log to embed', 'logs: [{embedded: true, embed: false}]', /required is 1, but 0 of the logs are to be/],
])('%s is refused with the file and what is wrong', (_what, text, reason) => {
  expect(detailOf(() => read(text))).toMatch(reason);
  expect(detailOf(() => read(text))).toContain(join(dir, 'logs.yaml'));
});

test('a file that is not there is named', () => {
  expect(detailOf(() => readCtLogsFile('/nonexistent/l.yaml', 1))).toMatch(
    /--ct-logs-config: cannot read \/nonexistent/,
  );
});

test('any document is a policy that can hold, or refused with one sentence', () => {
  fc.assert(
    fc.property(fc.json(), fc.json(), (entry, required) => {
      const detail = detailOf(() => read(`{"logs": [${entry}, {"embedded": true}], "required": ${required}}`));
      return detail === 'no error' || !detail.includes('\n');
    }),
    { numRuns: 200 },
  );
});
