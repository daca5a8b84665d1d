import { createServer, type RequestListener, type Server } from 'node:http';
import { opaUrl } from '../../src/config/policy.js';
import { AppError } from '../../src/errors.js';
import { opaServer, type PolicyAnswer } from '../../src/policy/opa.js';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function listen(listener: RequestListener): Promise<URL> {
  server = createServer(listener);
  const listening = server;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const address = listening.address();
  return new URL(`http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}/v1/data/x`);
}

/** What one question ends with: an answer, or the code and sentence of the failure. */
async function ask(url: URL, timeoutMs = 2000): Promise<PolicyAnswer | string> {
  const opa = opaServer({ url, timeoutMs });
  try {
    return await opa.ask({ claims: {} });
  } catch (error) {
    if (error instanceof AppError) return `${error.code}: ${error.detail}`;
    throw error;
  } finally {
    opa.close();
  }
}

const answering = (body: string, status = 200): Promise<URL> =>
  listen((request, response) => {
    request.resume();
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(body);
  });

describe('a policy server', () => {
  test.each([
    ['{"result":true}', { allowed: true, reason: '', rule: '' }],
    ['{"result":false}', { allowed: false, reason: '', rule: '' }],
    ['{"result":{"allow":true,"rule":"a"}}', { allowed: true, reason: '', rule: 'a' }],
    ['{"result":{"allow":false,"reason":"no\\nway"}}', { allowed: false, reason: 'no way', rule: '' }],
    ['{"result":{"allow":false,"reason":5}}', { allowed: false, reason: '', rule: '' }],
    ['{"decision_id":"1"}', { allowed: false, reason: 'it has no decision about this', rule: '' }],
  ])('that says %s', async (body, expected) => {
    expect(await ask(await answering(body))).toEqual(expected);
  });

  test.each([
    ['', 200, 'not JSON'],
    ['<html>', 200, 'not JSON'],
    ['{"result":true', 200, 'not JSON'],
    ['{"result":false,"result":true}', 200, 'twice in one object'],
    ['[true]', 200, 'expected an object with "result"'],
    ['{"result":"true"}', 200, 'neither a boolean nor an object'],
    ['{"result":1}', 200, 'neither a boolean nor an object'],
    ['{"result":null}', 200, 'neither a boolean nor an object'],
    ['{"result":{"allow":"yes"}}', 200, 'neither a boolean nor an object'],
    ['{"result":{"__proto__":{"allow":true}}}', 200, 'neither a boolean nor an object'],
    [`{"result":true,"x":"${'a'.repeat(70_000)}"}`, 200, 'an answer that cannot be read'],
    ['{"result":true}', 500, 'HTTP status 500'],
    ['{"result":true}', 302, 'HTTP status 302'],
    ['{"result":true}', 404, 'HTTP status 404'],
  ])('that says %.40s with status %d allows nothing', async (body, status, sentence) => {
    const answer = await ask(await answering(body, status));
    expect(answer).toMatch(/^POLICY_UNAVAILABLE: the policy server /);
    expect(answer).toContain(sentence);
  });

  test('that is down allows nothing', async () => {
    expect(await ask(new URL('http://127.0.0.1:1/v1/data/x'))).toBe(
      'POLICY_UNAVAILABLE: the policy server cannot be reached',
    );
  });

  test.each<[string, RequestListener]>([
    ['never answers', () => undefined],
    ['never ends its answer', (_request, response) => void response.writeHead(200).write('{"result":')],
  ])('that %s is given up', async (_what, listener) => {
    expect(await ask(await listen(listener), 100)).toBe(
      'POLICY_UNAVAILABLE: the policy server gave no answer within 100 ms',
    );
  });

  test('gets its input over few connections that are kept, and no more questions than it can be expected to answer', async () => {
    const inputs: string[] = [];
    const sockets = new Set<unknown>();
    const url = await listen((request, response) => {
      sockets.add(request.socket);
      request.on('data', (chunk: Buffer) => inputs.push(chunk.toString()));
      request.on('end', () => setTimeout(() => response.end('{"result":true}'), 5));
    });
    const opa = opaServer({ url, timeoutMs: 5000 });
    const answers = await Promise.allSettled(Array.from({ length: 300 }, (_, i) => opa.ask({ i })));
    opa.close();
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(256);
    expect(sockets.size).toBeLessThanOrEqual(64);
    expect(JSON.parse(inputs[0] ?? '')).toEqual({ input: { i: 0 } });
  });
});

test.each([
  ['http://127.0.0.1:8181/v1/data/a', undefined],
  ['http://[::1]:8181/v1/data/a', undefined],
  ['http://localhost/v1/data/a', undefined],
  ['https://opa.example.com/v1/data/a', undefined],
  ['http://opa.example.com/v1/data/a', 'in clear text to another machine'],
  ['http://127.0.0.1.example.com/v1/data/a', 'in clear text to another machine'],
  ['http://127.0.0.1:8181', 'expected the URL of a decision'],
  ['ftp://127.0.0.1/v1/data/a', 'expected the URL of a decision'],
  ['opa', 'expected the URL of a decision'],
  ['https://user:secret@opa.example.com/v1/data/a', 'has a user or a password in it'],
])('--opa-url %s', (text, sentence) => {
  const parsed = (): string => opaUrl(text, '--opa-url').href;
  if (sentence === undefined) expect(parsed()).toBe(text);
  else expect(parsed).toThrow(sentence);
});
