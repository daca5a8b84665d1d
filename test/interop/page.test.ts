import type { Page } from 'puppeteer-core';
import { hostile } from '../page/hostile.js';
import { jane, openPageLab, type PageLab, workflow } from '../page/lab.js';
import { eventually } from '../server/lab.js';
import { openBrowser, type PageBrowser, settled } from './page-browser.js';
import * as probe from './page-probes.js';

const attacks = Object.keys(hostile);
const leaves = [...Object.values(hostile), ...Array.from({ length: 40 }, () => workflow), jane];
const newest = leaves.length - 1;

let lab: PageLab;
let browser: PageBrowser;
beforeAll(async () => {
  [lab, browser] = await Promise.all([openPageLab(leaves), openBrowser()]);
});
afterAll(async () => {
  await browser?.close();
  await lab?.close();
});
afterEach(async () => {
  await browser.closePages();
  // Whatever a test looks at: no CSP violation, no exception, no dialog, no request to elsewhere.
  expect(browser.troubles()).toEqual([]);
});

const open = (path: string, options?: Parameters<PageBrowser['open']>[1]): Promise<Page> =>
  browser.open(`${lab.url}${path}`, options);
const entry = (index: number): string => `explore?log=ctlog&index=${index}`;
const textOf = (page: Page, selector: string): Promise<string> =>
  page.$eval(selector, (found) => found.textContent ?? '');
const textsOf = (page: Page, selector: string): Promise<string[]> =>
  page.$$eval(selector, (found) => found.map((one) => one.textContent ?? ''));

/** Does what leads to another page, and waits for it. */
async function follow(page: Page, action: () => Promise<void>): Promise<void> {
  await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), action()]);
  await settled(page);
}

describe('the overview', () => {
  test.each([true, false])('says what the instance is (script: %s)', async (script) => {
    const page = await open('', { script });
    const text = await textOf(page, 'main');
    expect(text).toContain('https://ca.example.com');
    expect(text).toContain('https://login.example.com');
    expect(text).toContain('cosign sign-blob --yes --signing-config signing_config.json');
    expect(text).toMatch(/([0-9A-F]{2}:){31}[0-9A-F]{2}/);
    expect(await page.$$('.copy')).toHaveLength(script ? (await page.$$('.code')).length : 0);
  });

  test('copies a command as it stands', async () => {
    const page = await open('');
    await page
      .browserContext()
      .overridePermissions(new URL(lab.url).origin, ['clipboard-read', 'clipboard-write', 'clipboard-sanitized-write']);
    await page.bringToFront();
    await page.click('.code .copy');
    await eventually(async () => (await page.evaluate(probe.copyLabel)) === 'Copied');
    const copied = await page.evaluate(probe.clipboard);
    expect(copied).toBe(await textOf(page, '.code code'));
    expect(copied).toContain('curl -fsSO https://ca.example.com/trust/trusted_root.json\n');
  });
});

describe('the explorer', () => {
  test('lists the latest certificates and pages through all of them', async () => {
    const page = await open('explore');
    expect(await textOf(page, '.entries tbody tr:first-child')).toContain('jane@example.com');
    const seen = await textsOf(page, '.entries td:last-child');
    while ((await page.$('a[rel=next]')) !== null) {
      await follow(page, () => page.click('a[rel=next]'));
      seen.push(...(await textsOf(page, '.entries td:last-child')));
    }
    expect(seen).toEqual(leaves.map((_, i) => `#${newest - i}`));
  });

  test.each([
    ['jane@example.com', 'any', 1],
    ['https://github.com/acme', 'identity', 25],
    ['https://token.actions.githubusercontent.com', 'issuer', 25],
    ['nobody@example.com', 'any', 0],
  ])('finds %s in %s', async (query, by, rows) => {
    const page = await open('explore');
    await page.type('#q', query);
    await page.select('#by', by);
    await follow(page, () => page.click('button[type=submit]'));
    expect(await textOf(page, '#status')).toContain('all were searched');
    expect(await page.$$('.entries tbody tr')).toHaveLength(rows);
    expect(await page.evaluate(probe.query)).toEqual({ q: query, by });
    if (rows === 0) expect(await textOf(page, '#view')).toContain('Nothing was found');
  });

  test('is worked by keyboard alone: skip link, search, a certificate', async () => {
    const page = await open('explore');
    await page.keyboard.press('Tab');
    expect((await page.evaluate(probe.focus)).isSkip).toBe(true);
    const focused: string[] = [];
    while (focused.at(-1) !== 'jane@example.com' && focused.length < 15) {
      await page.keyboard.press('Tab');
      const { name, outline } = await page.evaluate(probe.focus);
      expect([name, outline]).not.toEqual([name, 'none']);
      focused.push(name);
    }
    expect(focused).toEqual(['Mayfly', 'Overview', 'Log explorer', 'q', 'by', 'Search', 'jane@example.com']);
    await follow(page, () => page.keyboard.press('Enter'));
    expect(await textOf(page, '.verdict')).toContain('proven');
  });

  test.each([
    ['an index behind the end', 'explore?index=99999', 'the log has no entry 99999'],
    ['an index that is none', `explore?index=${encodeURIComponent('<img src=x onerror=a()>')}`, 'named by its index'],
    ['another log', 'explore?log=%2e%2e%2fetc', 'no log of this name'],
    ['a place that is none', 'explore?before=<b>', 'before is "<b>"'],
    ['a serial number that is none', 'explore?q=jane&by=serial', 'no serial number'],
  ])('says what is wrong with %s', async (_, path, message) => {
    const page = await open(path);
    expect(await textOf(page, '[role=alert]')).toContain(message);
    expect(await page.evaluate(probe.damage)).toEqual({ attacked: false, strange: 0, overflow: 0 });
    // Chromium notes every answer that is no success.
    expect(browser.troubles().filter((text) => !text.includes('Failed to load resource'))).toEqual([]);
  });

  test('says that it needs script where there is none', async () => {
    expect(await textOf(await open('explore', { script: false }), 'noscript')).toContain('needs JavaScript');
  });
});

describe('a certificate', () => {
  test('is decoded, with its PEM to take away, and proven to be in the log', async () => {
    const page = await open(entry(newest));
    expect(await textOf(page, '.verdict')).toBe('Yes: proven in your browser');
    expect(await textsOf(page, '.steps li b')).toEqual([
      'Passed: The entry is the certificate shown',
      'Passed: The key is that of the log',
      'Passed: The checkpoint is signed by the log',
      'Passed: The entry is in the tree of that checkpoint',
    ]);
    expect(await textOf(page, '.extensions')).toContain('Subject Alternative Name');
    const pem = await fetch(`${lab.url}page/api/logs/ctlog/entries/${newest}/certificate.pem`);
    expect(pem.headers.get('content-disposition')).toContain('attachment');
    expect(await pem.text()).toBe(await textOf(page, '.pem code'));
  });

  interface Answer {
    readonly entry: { readonly pem: string };
    readonly leafInput: string;
    readonly auditPath: readonly string[];
    readonly checkpoint: string;
  }
  const zero = Buffer.alloc(32).toString('base64');
  test.each<[string, (answer: Answer) => Partial<Answer>]>([
    ['audit path', ({ auditPath }) => ({ auditPath: auditPath.map(() => zero) })],
    ['leaf', ({ leafInput }) => ({ leafInput: `${leafInput.slice(0, 4)}B${leafInput.slice(5)}` })],
    ['checkpoint', ({ checkpoint }) => ({ checkpoint: checkpoint.replace(/\n[^\n]+=\n/, `\n${zero}\n`) })],
    [
      'certificate',
      ({ entry: one }) => ({
        entry: {
          ...one,
          pem: one.pem.replace(/(\n.{60})(.)/, (_, start: string, c: string) => start + (c === 'A' ? 'B' : 'A')),
        },
      }),
    ],
  ])('is refused when the server changed its %s', async (_, change) => {
    const rewrite = (path: string, body: string): string => {
      if (!path.includes('/entries/')) return body;
      const answer = JSON.parse(body) as Answer;
      return JSON.stringify({ ...answer, ...change(answer) });
    };
    const page = await open(entry(newest), { rewrite });
    expect(await textOf(page, '.verdict')).toBe('Refused: the proof does not hold');
    expect(await textOf(page, '.failed')).toContain('Failed:');
  });

  test('is refused when all of the answer is right, of another log with a key of its own', async () => {
    const other = await openPageLab([jane]);
    const answer = await (await fetch(`${other.url}page/api/logs/ctlog/entries/0`)).text();
    await other.close();
    const page = await open(entry(0), { rewrite: (path, body) => (path.includes('/entries/') ? answer : body) });
    expect(await textOf(page, '.verdict')).toBe('Refused: the proof does not hold');
    expect(await textOf(page, '.failed')).toContain('Failed: The log is the one in the list');
  });

  test.each(attacks.map((name, index) => [name, index] as const))('with %s does no harm', async (_, index) => {
    for (const path of [entry(index), `explore?before=${index + 1}&limit=1`]) {
      const page = await open(path, { width: 360 });
      expect(await page.evaluate(probe.damage)).toEqual({ attacked: false, strange: 0, overflow: 0 });
      expect(await page.evaluate(probe.linkOrigins)).toEqual([new URL(lab.url).origin]);
    }
  });

  test.each([
    ['bidi controls', ['U+202E', 'U+2069'], 'RIGHT-TO-LEFT OVERRIDE'],
    ['invisible characters', ['U+200B', 'U+00AD', 'U+0000'], 'ZERO WIDTH SPACE'],
    ['look-alikes', [], 'U+0430, Cyrillic'],
    ['line feeds', ['U+000A', 'U+000A', 'U+0009'], 'LINE FEED'],
  ])('with %s shows them', async (name, codes, warning) => {
    const page = await open(entry(attacks.indexOf(name)));
    expect(await textsOf(page, 'h2 .hidden')).toEqual(codes);
    expect(await textOf(page, '.notice.warn')).toContain(warning);
    // Nothing is left in the text that moves or hides another character.
    expect(await textOf(page, 'main')).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200b\u00ad]/);
    expect(await textsOf(page, 'h2 .foreign')).toEqual(name === 'look-alikes' ? ['\u0430', '\u0430'] : []);
  });
});

test.each(['', 'explore', entry(newest)])('"%s" fits a phone and is readable, in light and dark', async (path) => {
  for (const dark of [false, true]) {
    const page = await open(path, { width: 360, dark });
    expect(await page.evaluate(probe.overflow)).toBe(0);
    expect(await page.evaluate(probe.lowContrast)).toEqual([]);
  }
});

test('the policy stops script and markup made from strings, and inline script', async () => {
  const page = await open('explore');
  expect(await page.evaluate(probe.tryInjection)).toMatchObject({ attacked: false });
  expect(browser.troubles().join()).toContain("requires 'TrustedHTML' assignment. The action has been blocked");
});
