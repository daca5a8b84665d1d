import { type Answer, post } from '../support/client.js';
import { type GoldenLab, haveGolden, readGolden, startGoldenLab, type TokenOptions } from './lab.js';

interface GoldenAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
}

interface GoldenRequest {
  readonly name: string;
  readonly note: string;
  readonly request: {
    readonly token: string | { readonly header: Record<string, unknown>; readonly claims: Record<string, unknown> };
    readonly publicKey?: string;
    readonly publicKeyDerBase64?: string;
    readonly proofOfPossession?: string;
    readonly certificateSigningRequest?: string | { readonly base64: string };
  };
  readonly v1: GoldenAnswer;
  readonly v2: GoldenAnswer;
}

interface GoldenFile {
  readonly requests: readonly GoldenRequest[];
}

/** What Fulcio accepts and we refuse, each a hole that docs/compatibility.md names. */
const refusedByUs = new Set(['email-claim-two-cases', 'email-claim-other-case', 'github-no-sub', 'username-empty']);

const file = (name: string): readonly GoldenRequest[] => (haveGolden ? readGolden<GoldenFile>(name).requests : []);
const describeGolden = haveGolden ? describe : describe.skip;

describeGolden('requests that Fulcio answered', () => {
  let lab: GoldenLab;
  beforeAll(async () => {
    lab = await startGoldenLab();
  }, 40_000);
  afterAll(() => lab.close());

  test.each(file('errors.json'))('$name ($note) gets the same status and content type', async (golden) => {
    const { v1, v2 } = await ask(golden);
    expectAnswer(v1, golden.v1);
    expectAnswer(v2, golden.v2);
    expectError(v2);
  });

  test.each(file('accepted.json'))('$name ($note) is accepted, unless it is a hole', async (golden) => {
    const { v1, v2 } = await ask(golden);
    if (refusedByUs.has(golden.name)) {
      expect([v1.status, v2.status]).toEqual([400, 400]);
      expectError(v2);
      return;
    }
    expectAnswer(v1, golden.v1);
    expectAnswer(v2, golden.v2);
  });

  async function ask(golden: GoldenRequest): Promise<{ v1: Answer; v2: Answer }> {
    const { request } = golden;
    const token = tokenOf(golden);
    const der = request.publicKeyDerBase64;
    const headers = { Authorization: `Bearer ${token}` };
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    const given = request.certificateSigningRequest;
    const csr = typeof given === 'string' ? base64(given) : given?.base64;
    const v1Key = der ?? (request.publicKey === undefined ? undefined : base64(request.publicKey));
    const v1 = await post(
      `${lab.server.url}/api/v1/signingCert`,
      JSON.stringify({
        ...(v1Key === undefined ? {} : { publicKey: { algorithm: 'ecdsa', content: v1Key } }),
        signedEmailAddress: request.proofOfPossession,
        ...(csr === undefined ? {} : { certificateSigningRequest: csr }),
      }),
      headers,
    );
    const v2Key = der === undefined ? request.publicKey : Buffer.from(der, 'base64').toString('latin1');
    const v2 = await post(
      `${lab.server.url}/api/v2/signingCert`,
      JSON.stringify(
        csr === undefined
          ? { publicKeyRequest: { publicKey: { content: v2Key }, proofOfPossession: request.proofOfPossession } }
          : { certificateSigningRequest: csr },
      ),
      headers,
    );
    return { v1, v2 };
  }

  function tokenOf({ name, request }: GoldenRequest): string {
    if (typeof request.token === 'string') return request.token;
    const { header, claims } = request.token;
    const options: TokenOptions = { header, otherKey: name === 'token-other-key', asIs: true };
    const token = lab.token(claims, options);
    if (name === 'token-signature-cut') return token.slice(0, -1);
    if (name === 'token-padded') return `${token}==`;
    if (name === 'token-spaces') return `  ${token} `;
    return token;
  }

  function expectAnswer(found: Answer, expected: GoldenAnswer): void {
    expect({ status: found.status, type: found.type, vary: found.headers.get('vary') }).toEqual({
      status: expected.status,
      type: expected.headers['content-type'],
      vary: expected.headers.vary,
    });
  }

  function expectError(answer: Answer): void {
    const body = JSON.parse(answer.text) as {
      code: number;
      message: string;
      details: [{ reason: string; metadata: { requestId: string } }];
    };
    expect(body.code).toBe(3);
    expect(body.message.length).toBeGreaterThan(20);
    expect(body.details[0].reason).toMatch(/^[A-Z_]+$/);
    expect(body.details[0].metadata.requestId).toBe(answer.headers.get('x-request-id'));
    expect(answer.text).not.toMatch(/node_modules|\.ts:|\.js:/);
  }
});
