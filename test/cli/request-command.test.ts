import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type RequestOptions, requestCommand } from '../../src/cli/request.js';
import type { CommandIo } from '../../src/cli/request-io.js';
import { keyAlgorithms } from '../../src/cli/request-key.js';
import { trustedRootJson } from '../../src/trust/trusted-root.js';
import {
  createLab,
  type FakeServer,
  type FakeServerOptions,
  fakeToken,
  proves,
  startFakeServer,
} from './request-lab.js';

const lab = createLab();
const token = fakeToken({ sub: 'user-1', email: 'jane@example.com', email_verified: true });

function trustedRootOf(ca: typeof lab): string {
  const validFor = { start: new Date('2024-01-01') };
  return JSON.stringify(
    trustedRootJson({
      cas: [{ chain: [ca.issuing, ca.root], uri: 'https://ca.example', validFor, operator: 'ca.example' }],
      ctLogs: [{ baseUrl: 'https://ca.example/ctlog', publicKey: ca.logSpki, validFor, operator: 'ca.example' }],
    }),
  );
}

describe('mayfly request', () => {
  let directory: string;
  let server: FakeServer | undefined;
  let printed: { out: string; err: string };

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'mayfly-request-'));
    printed = { out: '', err: '' };
  });

  afterEach(async () => {
    await server?.close();
    server = undefined;
    await rm(directory, { recursive: true });
  });

  function io(given: Partial<CommandIo> = {}): CommandIo {
    return {
      out: (text) => {
        printed.out += text;
      },
      err: (text) => {
        printed.err += text;
      },
      readStdin: async () => '',
      env: {},
      fetch,
      now: () => new Date(),
      colour: false,
      interactive: false,
      openBrowser: async () => false,
      ...given,
    };
  }

  async function run(
    options: Partial<RequestOptions> = {},
    fake: FakeServerOptions = {},
    given: Partial<CommandIo> = {},
  ): Promise<number> {
    server = await startFakeServer(lab, fake);
    const defaults = {
      url: server.url,
      oidcClientId: 'sigstore',
      keyAlgorithm: 'ecdsa-p256',
      outputCertificate: join(directory, 'certificate.pem'),
      outputChain: join(directory, 'chain.pem'),
      outputKey: join(directory, 'key.pem'),
    };
    const source = options.identityTokenStdin || given.env || options.identityTokenFile ? {} : { identityToken: token };
    return requestCommand({ ...defaults, ...source, ...options }, io(given));
  }

  test.each(Object.keys(keyAlgorithms) as (keyof typeof keyAlgorithms)[])(
    'gets and writes a certificate for a key of kind %s that it proves to hold',
    async (keyAlgorithm) => {
      expect(await run({ keyAlgorithm }, { trustedRoot: trustedRootOf(lab) })).toBe(0);
      const certificate = new X509Certificate(await readFile(join(directory, 'certificate.pem')));
      const key = createPrivateKey(await readFile(join(directory, 'key.pem')));
      expect(certificate.checkPrivateKey(key)).toBe(true);
      expect((await stat(join(directory, 'key.pem'))).mode & 0o777).toBe(0o600);
      expect(await readFile(join(directory, 'chain.pem'), 'utf8')).toMatch(
        /^(-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n){2}$/,
      );
      const [request] = server?.requests ?? [];
      expect(proves(request?.body ?? {}, keyAlgorithms[keyAlgorithm].digest, 'jane@example.com')).toBe(true);
      expect(request?.authorization).toBe(`Bearer ${token}`);
    },
  );

  test('says who, when, where in the log, and what was checked against what', async () => {
    expect(await run({}, { trustedRoot: trustedRootOf(lab) })).toBe(0);
    expect(printed.out).toMatch(/identity\s+jane@example.com \(email\)/);
    expect(printed.out).toMatch(/token issuer\s+https:\/\/issuer.example/);
    expect(printed.out).toMatch(/valid\s+.* UTC to .* UTC \(10 minutes\)/);
    expect(printed.out).toMatch(/log index\s+0\n/);
    expect(printed.out).toContain('of itself (give --trusted-root');
    expect(printed.out).toMatch(/inclusion\s+ok/);
  });

  test('asks by a CSR with --csr', async () => {
    expect(await run({ csr: true })).toBe(0);
    const [request] = server?.requests ?? [];
    const pem = Buffer.from(String(request?.body.certificateSigningRequest), 'base64').toString();
    expect(pem).toContain('-----BEGIN CERTIFICATE REQUEST-----');
  });

  test.each([
    ['the subject when the email is not verified', { sub: 'user-1', email: 'j@example.com' }, undefined, 'user-1'],
    ['the claim that --challenge names', { sub: 'user-1', upn: 'jane' }, 'upn', 'jane'],
    [
      'an email verified by the text "true"',
      { sub: 'u', email: 'j@example.com', email_verified: 'true' },
      undefined,
      'j@example.com',
    ],
  ])('signs %s', async (_what, claims, challenge, signed) => {
    expect(await run({ identityToken: fakeToken(claims), ...(challenge === undefined ? {} : { challenge }) })).toBe(0);
    expect(proves(server?.requests[0]?.body ?? {}, 'sha256', signed)).toBe(true);
  });

  test('checks against --trusted-root, and hands nothing out when a check fails', async () => {
    const stranger = join(directory, 'stranger.json');
    await writeFile(stranger, trustedRootOf(createLab()));
    expect(await run({ trustedRoot: stranger })).toBe(1);
    expect(printed.out).toMatch(/chain\s+FAILED/);
    expect(printed.out).toMatch(/sct\s+FAILED/);
    expect(await readdir(directory)).toEqual(['stranger.json']);
  });

  test('without a key of the log the SCT is not checked, and that is said', async () => {
    expect(await run()).toBe(0);
    expect(printed.out).toMatch(/sct\s+not checked\s+no key of a log is known/);
  });

  test('prints JSON for scripts with --json', async () => {
    expect(await run({ json: true }, { trustedRoot: trustedRootOf(lab) })).toBe(0);
    const report: unknown = JSON.parse(printed.out);
    expect(report).toMatchObject({
      identity: { kind: 'email', value: 'jane@example.com' },
      logIndex: 0,
      files: { certificate: join(directory, 'certificate.pem'), key: join(directory, 'key.pem') },
    });
    expect(printed.out).not.toContain('PRIVATE KEY');
  });

  test.each([
    ['a file', { identityTokenFile: 'FILE' }, {}],
    ['standard input', { identityTokenStdin: true }, { readStdin: async () => `${token}\n` }],
    ['SIGSTORE_ID_TOKEN', {}, { env: { SIGSTORE_ID_TOKEN: token } }],
    ['MAYFLY_ID_TOKEN', {}, { env: { MAYFLY_ID_TOKEN: token, SIGSTORE_ID_TOKEN: 'not this one' } }],
  ] as const)('takes the token from %s', async (_what, options, given) => {
    const path = join(directory, 'token');
    await writeFile(path, `${token}\n`);
    const flags = 'identityTokenFile' in options ? { identityTokenFile: path } : options;
    expect(await run(flags, {}, given)).toBe(0);
    expect(server?.requests[0]?.authorization).toBe(`Bearer ${token}`);
  });

  test('asks GitHub Actions for a token with the audience of the client', async () => {
    const asked: { url: string; authorization: string | null }[] = [];
    const github: typeof fetch = async (input, init) => {
      if (!String(input).startsWith('https://actions.example')) return fetch(input, init);
      asked.push({ url: String(input), authorization: new Headers(init?.headers).get('authorization') });
      return Response.json({ value: token });
    };
    const env = {
      ACTIONS_ID_TOKEN_REQUEST_URL: 'https://actions.example/token?api-version=2',
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'secret',
    };
    expect(await run({}, {}, { env, fetch: github })).toBe(0);
    expect(asked).toEqual([
      { url: 'https://actions.example/token?api-version=2&audience=sigstore', authorization: 'Bearer secret' },
    ]);
  });

  const refusal = JSON.stringify({
    code: 3,
    message: 'There was an error processing the identity token: it expired',
    details: [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'TOKEN_EXPIRED' }],
  });
  const nonsense = { signedCertificateEmbeddedSct: { chain: { certificates: ['not PEM'] } } };
  test.each([
    [
      'the reason of a refusal',
      { status: 400, body: refusal },
      'it expired (HTTP 400, TOKEN_EXPIRED, request id request-1)',
    ],
    [
      'a terminal escape in a refusal without the escape',
      { status: 400, body: '{"code":3,"message":"a\\u001b[31mb"}' },
      'refused: a [31mb (',
    ],
    ['the status of an answer that is no JSON', { status: 502, body: '<html>' }, 'answered HTTP 502'],
    ['an answer that is no JSON', { status: 200, body: '<html>' }, 'it is not JSON'],
    ['an answer without a chain', { status: 200, body: '{}' }, 'its JSON holds no certificate chain'],
    ['a certificate that is none', { status: 200, body: JSON.stringify(nonsense) }, 'certificate 1 of the server'],
    ['an endless answer', { status: 200, body: 'x'.repeat(2 ** 20 + 1) }, 'longer than 1048576 bytes'],
  ])('reports %s and ends with 1', async (_what, answer, message) => {
    expect(await run({}, { answer })).toBe(1);
    expect(printed.err).toContain(message);
    expect(printed.err + printed.out).not.toContain(token);
  });

  test.each([
    ['no token', { identityToken: '' }, 'is neither a token nor a file'],
    ['a broken token', { identityToken: 'a.b' }, 'is neither a token nor a file'],
    ['a token that is no JSON', { identityToken: 'aaaa.bbbb.cccc' }, 'cannot be read'],
    ['two tokens', { identityToken: token, identityTokenStdin: true }, 'several flags'],
    ['an unknown key algorithm', { keyAlgorithm: 'dsa' }, '--key-algorithm is "dsa"; expected one of ecdsa-p256,'],
    ['a claim that is not there', { challenge: 'upn' }, 'no text in its claim "upn"'],
    ['a trusted root that is not there', { trustedRoot: '/nowhere' }, '--trusted-root cannot be read'],
    ['a URL that is none', { url: 'ca.example' }, '"ca.example" is not an http or https URL'],
    ['an issuer without TLS', { identityToken: undefined, oidcIssuer: 'http://issuer.example' }, 'is not https'],
  ])('refuses %s as a wrong call with 2', async (_what, options, message) => {
    expect(await run(options as Partial<RequestOptions>)).toBe(2);
    expect(printed.err).toContain(message);
    expect(printed.err).not.toContain(token);
  });

  test('without any token it names the issuers that the server accepts', async () => {
    expect(await run({}, {}, { env: {} })).toBe(2);
    expect(printed.err).toContain('takes tokens of https://issuer.example');
  });

  test('refuses to overwrite a file before it asks for anything, unless forced', async () => {
    const path = join(directory, 'key.pem');
    await writeFile(path, 'precious', { mode: 0o644 });
    expect(await run()).toBe(2);
    expect(printed.err).toContain(`--output-key: ${path} exists`);
    expect(server?.requests).toEqual([]);
    expect(await readFile(path, 'utf8')).toBe('precious');
    await server?.close();
    expect(await run({ force: true })).toBe(0);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('says that a server cannot be reached', async () => {
    server = await startFakeServer(lab);
    const { url } = server;
    await server.close();
    server = undefined;
    expect(await run({ url })).toBe(1);
    expect(printed.err).toMatch(/cannot be reached: .*ECONNREFUSED/);
  });
});
