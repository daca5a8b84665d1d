import { type Browser, launch, type Page } from 'puppeteer-core';

/** A Chromium without a window, and what went wrong in its pages. */
export interface PageBrowser {
  /** A new page; console errors, exceptions, CSP violations and requests to elsewhere are noted. */
  open(url: string, options?: OpenOptions): Promise<Page>;
  /** Everything that went wrong since it was asked last. */
  troubles(): string[];
  closePages(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions {
  readonly width?: number;
  readonly dark?: boolean;
  readonly script?: boolean;
  /** Replaces the body of JSON answers on their way to the page. */
  readonly rewrite?: (path: string, body: string) => string;
}

/** Launches Debian's Chromium; as root it has no sandbox of its own. */
export async function openBrowser(): Promise<PageBrowser> {
  const browser: Browser = await launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--lang=en'],
  });
  let troubles: string[] = [];
  const pages: Page[] = [];

  async function open(
    url: string,
    { width = 1200, dark = false, script = true, rewrite }: OpenOptions = {},
  ): Promise<Page> {
    const page = await browser.newPage();
    pages.push(page);
    const isPhone = width < 600;
    await page.setViewport({ width, height: isPhone ? 800 : 900, isMobile: isPhone, hasTouch: isPhone });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
    await page.setJavaScriptEnabled(script);
    page.on('console', (message) => {
      if (['error', 'warn'].includes(message.type())) troubles.push(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => troubles.push(`exception: ${String(error)}`));
    page.on('dialog', (dialog) => {
      troubles.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== new URL(url).origin) troubles.push(`request to ${request.url()}`);
    });
    if (rewrite !== undefined) await rewriteAnswers(page, rewrite);
    await page.goto(url, { waitUntil: 'load' });
    if (script) await settled(page);
    return page;
  }

  return {
    open,
    troubles() {
      const found = troubles;
      troubles = [];
      return found;
    },
    async closePages() {
      for (const page of pages.splice(0)) await page.close();
    },
    close: () => browser.close(),
  };
}

/** Waits until the explorer has shown what it was asked for; other pages are done when they are loaded. */
export async function settled(page: Page): Promise<void> {
  if ((await page.$('#view')) !== null) await page.waitForSelector('#view[aria-busy=false]');
}

/** The browser's answers pass through here: what a server that lies would send. */
async function rewriteAnswers(page: Page, rewrite: (path: string, body: string) => string): Promise<void> {
  await page.setRequestInterception(true);
  page.on('request', async (request) => {
    const { pathname, search } = new URL(request.url());
    if (!pathname.startsWith('/page/api/')) return request.continue();
    const answer = await fetch(request.url());
    const body = rewrite(`${pathname}${search}`, await answer.text());
    return request.respond({ status: answer.status, contentType: 'application/json', body });
  });
}
