import { rmSync } from 'node:fs';
import { loadTls } from '../../src/http/tls.js';
import { tlsFiles } from './support.js';

let files: Awaited<ReturnType<typeof tlsFiles>>;
beforeAll(async () => {
  files = await tlsFiles();
});
afterAll(() => rmSync(files.dir, { recursive: true }));

test('loadTls takes a certificate and its key', () => {
  expect(loadTls(files, 'grpc')).toEqual({ cert: files.cert, key: files.key });
});

test.each([
  {
    name: 'a certificate that is not there',
    change: () => ({ certificatePath: `${files.dir}/none` }),
    message: /--http-tls-certificate .*none cannot be read: .*ENOENT/,
  },
  {
    name: 'a key that is not there',
    change: () => ({ keyPath: `${files.dir}/none` }),
    message: /--http-tls-key .*none cannot be read/,
  },
  {
    name: 'a key in the place of the certificate',
    change: () => ({ certificatePath: files.keyPath }),
    message: /--http-tls-certificate .*tls\.key is not usable; expected a PEM certificate chain/,
  },
  {
    name: 'a certificate in the place of the key',
    change: () => ({ keyPath: files.certificatePath }),
    message: /--http-tls-key .*tls\.pem is not usable; expected a PEM private key/,
  },
  {
    name: 'a key with a password',
    change: () => ({ keyPath: files.encryptedKeyPath }),
    message: /--http-tls-key .*encrypted\.key is not usable; expected a PEM private key without a password/,
  },
  {
    name: 'the key of another certificate',
    change: () => ({ keyPath: files.otherKeyPath }),
    message: /--http-tls-key .*other\.key is not the key of the first certificate in .*tls\.pem/,
  },
])('loadTls refuses $name and names the flag', ({ change, message }) => {
  expect(() => loadTls({ ...files, ...change() }, 'http')).toThrow(
    expect.objectContaining({ code: 'STARTUP', detail: expect.stringMatching(message) }),
  );
});
