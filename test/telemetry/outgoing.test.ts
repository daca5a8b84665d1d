import { createServer, type IncomingHttpHeaders } from 'node:http';
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { logTransport } from '../../src/ct/log-transport.js';
import { listen } from '../../src/listen.js';
import { openTracing } from '../../src/telemetry/otel.js';
import { tracedFetcher } from '../../src/telemetry/traced-fetcher.js';
import { startOtlpReceiver } from './otlp-receiver.js';

const settings = { sampler: 'parent', ratio: 1, identities: false } as const;
const deps = { version: '0', instance: 'test', logger: pino({ level: 'silent' }) };
const request = {
  name: 'request',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  tracestate: 'vendor=1',
  attributes: {},
  ended: () => ({}),
};

test('a log that is asked within a request learns its trace, and outside of one nothing', async () => {
  const seen: IncomingHttpHeaders[] = [];
  const server = createServer((incoming, response) => {
    seen.push(incoming.headers);
    response.end('{}');
  });
  const port = await listen(server, '127.0.0.1', 0, 'the log');
  const receiver = await startOtlpReceiver();
  const tracing = openTracing({ ...settings, url: `${receiver.url}/v1/traces` }, { ...deps, registry: new Registry() });
  const transport = logTransport({ headers: () => tracing.headers() });
  const limits = { signal: new AbortController().signal, maxBytes: 100 };
  const ask = () => transport.post(new URL(`http://127.0.0.1:${port}/ct/v1/add-pre-chain`), '{}', limits);
  await ask();
  await tracing.request(request, () => tracing.span('log submit', {}, ask));
  await tracing.close();
  transport.close();
  await receiver.close();
  server.close();
  const [outside, within] = seen;
  expect(outside?.traceparent).toBeUndefined();
  const submit = receiver.spans().find(({ name }) => name === 'log submit');
  expect(within?.traceparent).toBe(`00-${submit?.traceId}-${submit?.spanId}-01`);
  expect(within?.tracestate).toBe('vendor=1');
});

test('an issuer is asked without headers of the trace, and a failed fetch is a span that failed', async () => {
  const receiver = await startOtlpReceiver();
  const tracing = openTracing({ ...settings, url: `${receiver.url}/v1/traces` }, { ...deps, registry: new Registry() });
  const given: unknown[][] = [];
  const get = async (...all: unknown[]): Promise<string> => {
    given.push(all);
    throw new Error('out of reach');
  };
  const fetcher = tracedFetcher({ get }, tracing);
  const url = new URL('https://issuer.example/.well-known/openid-configuration?secret=1');
  const policy = { network: 'any', bearerToken: 'do-not-tell' } as const;
  const failed = tracing.request(request, () => fetcher.get(url, policy));
  await expect(failed).rejects.toThrow('out of reach');
  await tracing.close();
  await receiver.close();
  expect(given).toEqual([[url, policy]]);
  const span = receiver.spans().find(({ name }) => name === 'keys fetch');
  expect(span).toMatchObject({
    status: 2,
    attributes: { 'server.address': 'issuer.example', 'error.type': 'INTERNAL' },
  });
  expect(receiver.bodies.join('')).not.toMatch(/do-not-tell|secret/);
});

test('work outside of any request has no span and its result', async () => {
  const receiver = await startOtlpReceiver();
  const tracing = openTracing({ ...settings, url: `${receiver.url}/v1/traces` }, { ...deps, registry: new Registry() });
  expect(await tracing.span('alone', {}, async () => 7)).toBe(7);
  tracing.past('alone', 1);
  tracing.annotate({ a: 1 });
  expect(tracing.point()).toBeUndefined();
  await tracing.close();
  await receiver.close();
  expect(receiver.spans()).toEqual([]);
});
