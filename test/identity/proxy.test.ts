import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError } from '../../src/errors.js';
import { createFetcher } from '../../src/identity/fetcher.js';
import { proxyFromEnv } from '../../src/identity/proxy.js';
import { listen } from './support.js';

describe('proxyFromEnv', () => {
  const env = {
    HTTPS_PROXY: 'http://secure.proxy:3128',
    http_proxy: 'plain.proxy:8080',
    NO_PROXY: 'intra.example, .below.example, *.star.example, 10.0.0.0/8, 192.0.2.7, port.example:8443, fd00::/8',
  };
  test.each([
    ['https://id.example', 'http://secure.proxy:3128/'],
    ['http://id.example', 'http://plain.proxy:8080/'],
    ['https://intra.example', undefined],
    ['https://a.intra.example', undefined],
    ['https://notintra.example', 'http://secure.proxy:3128/'],
    ['https://below.example', 'http://secure.proxy:3128/'],
    ['https://a.below.example', undefined],
    ['https://a.star.example', undefined],
    ['https://10.2.3.4', undefined],
    ['https://11.2.3.4', 'http://secure.proxy:3128/'],
    ['https://192.0.2.7', undefined],
    ['https://[fd12::1]', undefined],
    ['https://port.example:8443', undefined],
    ['https://port.example', 'http://secure.proxy:3128/'],
    ['https://localhost', undefined],
    ['https://127.0.0.9', undefined],
    ['https://[::1]', undefined],
  ])('%s goes through %s', (url, proxy) => {
    expect(proxyFromEnv(env)(new URL(url))?.href).toBe(proxy);
  });

  test('no variables, no proxy; and * means none', () => {
    expect(proxyFromEnv({})(new URL('https://id.example'))).toBeUndefined();
    expect(proxyFromEnv({ ...env, NO_PROXY: '*' })(new URL('https://id.example'))).toBeUndefined();
  });

  test('refuses what is no proxy without showing its password', () => {
    const parse = () => proxyFromEnv({ HTTPS_PROXY: 'socks5://user:hush@proxy:1080' });
    expect(parse).toThrow(AppError);
    expect(parse).toThrow(/^HTTPS_PROXY is not a proxy that can be used/);
  });
});

describe('a fetch through a proxy', () => {
  const any = { network: 'any' } as const;

  test('over http sends the absolute URL and the credentials', async () => {
    const seen: (string | undefined)[] = [];
    const proxy = await listen((request, response) => {
      seen.push(request.url, request.headers.host, request.headers['proxy-authorization']);
      response.end('{}');
    });
    const through = new URL(proxy.url.replace('//', '//user:p%40ss@'));
    const fetcher = createFetcher({ proxyFor: () => through });
    expect(await fetcher.get(new URL('http://id.example/keys?x=1'), any)).toBe('{}');
    expect(seen).toEqual([
      'http://id.example/keys?x=1',
      'id.example',
      `Basic ${Buffer.from('user:p@ss').toString('base64')}`,
    ]);
    await proxy.close();
  });

  /** A proxy that answers CONNECT as the test says. */
  async function tunnelProxy(answer: (target: string | undefined, socket: Duplex) => void) {
    const server = createServer().on('connect', (request, socket) => answer(request.url, socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const fetcher = createFetcher({ proxyFor: () => proxy, timeoutMs: 2_000 });
    return { fetcher, close: () => server.close() };
  }

  test('over https asks for a tunnel and speaks TLS inside it', async () => {
    const seen: (string | undefined)[] = [];
    const { fetcher, close } = await tunnelProxy((target, socket) => {
      seen.push(target);
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.once('data', (hello: Buffer) => {
        seen.push(hello.toString('latin1').includes('id.example') ? 'hello to id.example' : 'no name');
        socket.destroy();
      });
    });
    await expect(fetcher.get(new URL('https://id.example/keys'), any)).rejects.toMatchObject({ temporary: true });
    expect(seen).toEqual(['id.example:443', 'hello to id.example']);
    close();
  });

  test('tells a proxy that refuses the tunnel', async () => {
    const { fetcher, close } = await tunnelProxy((_target, socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'));
    await expect(fetcher.get(new URL('https://id.example/keys'), any)).rejects.toMatchObject({
      message: 'the proxy answered CONNECT with status 403',
      temporary: true,
    });
    close();
  });

  test('does not ask it for literal private addresses and internal names on behalf of a wildcard issuer', async () => {
    const proxy = await listen((_request, response) => response.end('{}'));
    const fetcher = createFetcher({ proxyFor: () => new URL(proxy.url) });
    for (const host of ['10.0.0.1', '[::1]', '169.254.169.254', 'metadata.google.internal', 'intranet']) {
      await expect(fetcher.get(new URL(`http://${host}/`), { network: 'public' })).rejects.toThrow('not public');
    }
    expect(proxy.requests).toEqual([]);
    expect(await fetcher.get(new URL('http://id.example/'), { network: 'public' })).toBe('{}');
    await proxy.close();
  });
});
