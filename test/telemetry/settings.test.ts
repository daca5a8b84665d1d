import { expect, test } from '@jest/globals';
import { collectFlags } from '../../src/config/flag-sources.js';
import { serveConfig } from '../../src/config/serve.js';

const tracing = (flags: Record<string, string>) => serveConfig(collectFlags(flags, {}, undefined)).tracing;
const endpoint = 'http://collector:4318';

test('without --otlp-endpoint there is no tracing', () => {
  expect(tracing({})).toBeUndefined();
  expect(tracing({ 'trace-ratio': '0.5' })).toBeUndefined();
});

test.each([
  [endpoint, 'http://collector:4318/v1/traces'],
  [`${endpoint}/`, 'http://collector:4318/v1/traces'],
  [`${endpoint}/otlp`, 'http://collector:4318/otlp/v1/traces'],
  [`${endpoint}/v1/traces`, 'http://collector:4318/v1/traces'],
])('spans for --otlp-endpoint %s go to %s', (given, url) => {
  expect(tracing({ 'otlp-endpoint': given })).toEqual({ url, sampler: 'parent', ratio: 1, identities: false });
});

test.each([
  ['otlp-endpoint', 'collector:4318', /^--otlp-endpoint is "collector:4318"; expected an http or https URL/],
  ['otlp-endpoint', 'http://user:secret@collector', /expected an http or https URL without user/],
  ['otlp-endpoint', 'http://collector?x=1', /expected an http or https URL/],
  ['trace-ratio', '2', /^--trace-ratio is "2"; expected a share of the requests from 0 to 1, such as 0.05$/],
  ['trace-ratio', '-1', /expected a share/],
  ['trace-ratio', '5%', /expected a share/],
  ['trace-ratio', '', /expected a share/],
  ['trace-sampler', 'always', /^--trace-sampler is "always"; expected parent or ratio$/],
  ['trace-identities', 'maybe', /expected true or false/],
])('--%s "%s" is refused with what was expected', (flag, value, expected) => {
  expect(() => tracing({ 'otlp-endpoint': endpoint, [flag]: value })).toThrow(expected);
});

test.each(['0', '0.05', '.5', '1', '1.0'])('--trace-ratio %s is a ratio', (ratio) => {
  expect(tracing({ 'otlp-endpoint': endpoint, 'trace-ratio': ratio })?.ratio).toBe(Number(ratio));
});
