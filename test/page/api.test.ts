import { html } from '../../src/page/html.js';
import { instructionsOf } from '../../src/page/instructions.js';
import { overviewPage } from '../../src/page/overview.js';
import { clientInstructions } from '../../src/trust/client-instructions.js';
import { add, instanceOf, jane, openPageLab, type PageLab, workflow } from './lab.js';

let lab: PageLab;
beforeAll(async () => {
  lab = await openPageLab(Array.from({ length: 30 }, (_, i) => (i % 10 === 0 ? jane : workflow)));
});
afterAll(() => lab.close());

const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${lab.url}${path}`, { headers });
const entries = 'page/api/logs/ctlog/entries';

interface List {
  readonly size: number;
  readonly entries: readonly { readonly index: number }[];
  readonly next?: number;
  readonly searched?: { readonly from: number; readonly to: number };
}

async function list(query: string): Promise<List> {
  const answer = await get(`${entries}?${query}`);
  expect(answer.status).toBe(200);
  return (await answer.json()) as List;
}

describe('the API', () => {
  test('gives pages of at most what is asked for, newest first, down to the first entry', async () => {
    const first = await list('');
    expect([first.size, first.entries.length, first.entries[0]?.index, first.next]).toEqual([30, 25, 29, 5]);
    const last = await list(`before=${first.next}`);
    expect(last.entries.map(({ index }) => index)).toEqual([4, 3, 2, 1, 0]);
    expect(last).not.toHaveProperty('next');
    expect((await list('before=0')).entries).toEqual([]);
    expect((await list('before=999999999999&limit=1')).entries.map(({ index }) => index)).toEqual([29]);
  });

  test('pages through what a search finds, and says what was searched', async () => {
    const first = await list('q=jane@example.com&limit=2');
    expect(first).toMatchObject({ searched: { from: 0, to: 30 }, next: 10 });
    expect(first.entries.map(({ index }) => index)).toEqual([20, 10]);
    expect((await list('q=jane@example.com&limit=2&before=10')).entries.map(({ index }) => index)).toEqual([0]);
  });

  test('answers 304 as long as the log stands still', async () => {
    for (const path of [
      '',
      'explore',
      'page/page.css',
      'page/api/logs',
      entries,
      `${entries}?q=example.com`,
      `${entries}/0`,
    ]) {
      const answer = await get(path);
      const tag = answer.headers.get('etag') ?? '';
      expect(tag).not.toBe('');
      expect(answer.headers.get('cache-control')).toBe('no-cache');
      expect((await get(path, { 'If-None-Match': tag })).status).toBe(304);
    }
    const { etag } = Object.fromEntries((await get(entries)).headers);
    await add(lab.log, jane);
    expect((await get(entries, { 'If-None-Match': etag ?? '' })).status).toBe(200);
  });

  test.each([
    [`${entries}?limit=0`, 400],
    [`${entries}?limit=101`, 400],
    [`${entries}?limit=1&limit=2`, 400],
    [`${entries}?before=-1`, 400],
    [`${entries}?q[a]=b`, 200],
    [`${entries}?q=a&q=b`, 400],
    [`${entries}?q=${'a'.repeat(1001)}`, 400],
    [`${entries}?q=a&by=__proto__`, 400],
    [`${entries}/31`, 404],
    [`${entries}/-1`, 404],
    [`${entries}/1e1`, 404],
    [`${entries}/0/certificate.der`, 404],
    ['page/api/logs/other/entries', 404],
    ['page/api/logs/__proto__/entries', 404],
    ['page/..%2froutes.js', 404],
    ['page/%2e%2e%2f%2e%2e%2fpackage.json', 404],
    ['page/missing.js', 404],
  ])('answers GET /%s with %i', async (path, status) => {
    expect((await get(path)).status).toBe(status);
  });

  test.each(['', 'explore', 'page/page.css', entries])('refuses to be written to at /%s', async (path) => {
    const answer = await fetch(`${lab.url}${path}`, { method: 'POST', body: '{}' });
    expect(answer.status).toBe(501);
  });

  test('sends the headers of a page that nobody may frame, sniff or read from elsewhere', async () => {
    for (const path of ['', 'explore', 'page/explore.js', entries]) {
      const { headers } = await get(path, { Origin: 'https://evil.example' });
      expect(headers.get('content-security-policy')).toContain(
        "default-src 'none'; script-src 'self'; style-src 'self'",
      );
      expect(headers.get('content-security-policy')).not.toMatch(/unsafe|\*|data:/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      expect(headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  test('turns readers away when too many ask at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 120 }, (_, i) => get(`${entries}?limit=100&before=${i + 1}`)),
    );
    const statuses = new Set(answers.map(({ status }) => status));
    expect([200, 429]).toEqual(expect.arrayContaining([...statuses]));
    expect((await get(entries)).status).toBe(200);
  });
});

describe('the overview', () => {
  const pageOf = (more: Parameters<typeof instanceOf>[1] = {}): string => overviewPage(instanceOf(lab.log, more));

  test('has every command of the bundle, word for word', () => {
    const instance = instanceOf(lab.log);
    const shown = pageOf();
    const clients = instructionsOf(clientInstructions(instance.material, false));
    expect(clients.map(({ name }) => name)).toContain('cosign 3');
    for (const { name, blocks } of clients) {
      if (name.startsWith('policy-controller')) continue;
      for (const { kind, text } of blocks) if (kind === 'code') expect(shown).toContain(html`${text}`.toString());
    }
  });

  test('has no mail address in the commands of an instance for machines', () => {
    const { material } = instanceOf(lab.log);
    const shown = pageOf({
      issuers: [{ url: 'https://ci.example.com', wildcard: false, audience: 'sigstore', issuerType: 'ci-provider' }],
      material: { ...material, oidcProviders: [] },
    });
    expect(shown).toContain('--certificate-identity IDENTITY --certificate-oidc-issuer https://ci.example.com');
    expect(shown).not.toContain('jane@');
  });

  test('escapes what the configuration says', () => {
    const text = pageOf({
      issuers: [
        { url: 'https://x/"><script>alert(1)</script>\u202e', wildcard: false, audience: "'<b>", issuerType: '<i>' },
      ],
      checks: [{ name: '<u>', ok: false, reason: '<s>' }],
      cas: [],
    });
    expect(text).not.toMatch(/<script>alert|<b>'|<i>|<u>|<s>|\u202e/);
    expect(text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;[U+202E]');
    expect(text).toContain('Not ready to issue certificates');
  });

  test.each([
    ['no issuers', { issuers: [] }, 'every token is refused'],
    ['a TUF repository', { hasTuf: true }, 'cosign initialize --mirror https://ca.example.com/tuf'],
    ['no TUF repository', {}, 'There is no TUF repository here'],
    ['no timestamps', {}, 'There is none: a signature is provable'],
    ['a retired CA', { cas: [{ name: 'old', state: 'retired', chain: [] }] }, 'issues no more'],
    ['files elsewhere', { base: 'https://ca.example.com/' }, 'href="https://ca.example.com/trust/ca.pem"'],
  ])('says so with %s', (_, more, text) => {
    expect(pageOf(more)).toContain(text);
  });
});
