import { type GoldenLab, haveGolden, readGolden, startGoldenLab } from './lab.js';

interface GoldenCall {
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers: Record<string, string>;
    readonly body?: string | { readonly base64: string };
  };
  readonly status: number;
  readonly headers: Record<string, string>;
}

interface GoldenHttp {
  readonly name: string;
  readonly note: string;
  readonly v1?: GoldenCall;
  readonly v2?: GoldenCall;
}

/** Where our answer differs on purpose (docs/compatibility.md): the status we give instead. */
const ourStatus: Readonly<Record<string, number>> = { 'body-trailing': 400 };
/** We let browsers send the token, so our preflight answer has more in it. */
const moreOpen = new Set(['method-preflight-authorization']);
/** Headers that fetch must set itself, and bodies that the file only describes (test/http has them). */
const unsendable = /^\(\d+ bytes\)$/;

const calls = (name: string): (readonly [string, string, GoldenCall])[] =>
  (haveGolden ? readGolden<{ http: GoldenHttp[] }>(name).http : []).flatMap((golden) =>
    (['v1', 'v2'] as const).flatMap((version) => {
      const call = golden[version];
      const described =
        call !== undefined && typeof call.request.body === 'string' && unsendable.test(call.request.body);
      return call === undefined || described ? [] : [[golden.name, `${version}, ${golden.note}`, call] as const];
    }),
  );
const describeGolden = haveGolden ? describe : describe.skip;

describeGolden('HTTP calls that Fulcio answered', () => {
  let lab: GoldenLab;
  beforeAll(async () => {
    lab = await startGoldenLab();
  }, 40_000);
  afterAll(() => lab.close());

  test.each([...calls('errors.json'), ...calls('accepted.json')])(
    '%s (%s) gets the same status, content type and CORS headers',
    async (name, _note, golden) => {
      const answer = await call(golden);
      expect(answer.status).toBe(ourStatus[name] ?? golden.status);
      if (name in ourStatus || moreOpen.has(name)) return;
      for (const header of ['content-type', 'vary', 'access-control-allow-origin']) {
        if (golden.headers[header] === undefined) continue;
        expect([header, answer.headers.get(header)]).toEqual([header, golden.headers[header]]);
      }
      if (answer.status >= 400 && golden.request.method !== 'HEAD') {
        const body = JSON.parse(await answer.text()) as { code: number; message: string; details: unknown[] };
        expect(body.details).toHaveLength(1);
        expect(body.message).not.toBe('');
      }
    },
  );

  function call({ request }: GoldenCall): Promise<Response> {
    const token = lab.token({
      iss: 'http://127.0.0.1:9110',
      aud: 'sigstore',
      sub: 'user-1',
      email: 'jane@example.com',
      email_verified: true,
    });
    const headers = Object.fromEntries(
      Object.entries(request.headers)
        .filter(([name]) => name !== 'transfer-encoding')
        .map(([name, value]) => [name, value.replace('<token>', token)]),
    );
    const { body = '' } = request;
    const bytes = typeof body === 'string' ? body.replace('<token>', token) : Buffer.from(body.base64, 'base64');
    const hasBody = request.method === 'POST';
    return fetch(`${lab.server.url}${request.path}`, {
      method: request.method,
      headers,
      ...(hasBody ? { body: bytes } : {}),
    });
  }
});
