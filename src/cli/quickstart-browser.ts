const maxSteps = 20;

/**
 * A browser without a window: opens a URL, keeps cookies per host and follows redirects until a page is shown. It fits
 * CommandIo.openBrowser, so a headless login is the same code as a person's.
 * @returns false when it ends on an error page or goes in circles.
 */
export async function headlessBrowser(startUrl: string, fetcher: typeof fetch): Promise<boolean> {
  const cookies = new Map<string, Map<string, string>>();
  let url = new URL(startUrl);
  for (let step = 0; step < maxSteps; step++) {
    const jar = cookies.get(url.host) ?? new Map<string, string>();
    cookies.set(url.host, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetcher(url, { redirect: 'manual', headers: cookie === '' ? {} : { cookie } });
    await response.arrayBuffer();
    for (const line of response.headers.getSetCookie()) keepCookie(jar, line);
    const location = response.headers.get('location');
    if (location === null) return response.ok;
    url = new URL(location, url);
  }
  return false;
}

/** Paths and lifetimes are left out; a cookie set to nothing is a deleted one (RFC 6265). */
function keepCookie(jar: Map<string, string>, line: string): void {
  const [pair = ''] = line.split(';', 1);
  const equals = pair.indexOf('=');
  const name = pair.slice(0, equals).trim();
  const value = pair.slice(equals + 1).trim();
  if (value === '') jar.delete(name);
  else jar.set(name, value);
}
