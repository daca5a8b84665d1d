import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { crc32c } from '../../src/ca/kms-crc32c.js';
import { chooseVersion, loadSdk } from '../../src/ca/kms-provider.js';

const newKey = () => createPublicKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);

test('loadSdk says what to install when an SDK is missing', async () => {
  const missing = () => Promise.reject(new Error("Cannot find package '@azure/identity'"));
  await expect(loadSdk('azurekms', ['@azure/keyvault-keys', '@azure/identity'], missing)).rejects.toMatchObject({
    code: 'STARTUP',
    detail:
      'a key named azurekms://… needs the packages @azure/keyvault-keys and @azure/identity, which cannot be loaded ' +
      `(Cannot find package '@azure/identity'): run "npm install @azure/keyvault-keys @azure/identity" beside mayfly`,
  });
});

test('chooseVersion looks no further than the version it was asked for', async () => {
  const keys = [newKey(), newKey(), newKey()];
  const asked: string[] = [];
  async function* versions() {
    for (const [index, publicKey] of keys.entries()) {
      asked.push(`${index}`);
      yield { version: `${index}`, publicKey };
    }
  }
  expect(await chooseVersion(versions(), keys[1])).toMatchObject({ version: '1' });
  expect(asked).toEqual(['0', '1']);
  expect(await chooseVersion(versions(), undefined)).toMatchObject({ version: '0' });
});

test('chooseVersion gives up after a hundred versions', async () => {
  const publicKey = newKey();
  let asked = 0;
  async function* versions() {
    for (;;) {
      asked += 1;
      yield { version: `${asked}`, publicKey };
    }
  }
  await expect(chooseVersion(versions(), newKey())).rejects.toThrow('none of its enabled versions (1, 2, 3');
  expect(asked).toBe(100);
});

// RFC 3720 Appendix B.4.
test.each([
  ['32 zeros', new Uint8Array(32), 0x8a9136aa],
  ['32 ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['32 bytes rising', Uint8Array.from({ length: 32 }, (_, index) => index), 0x46dd794e],
  ['nothing', new Uint8Array(0), 0],
])('crc32c of %s', (_, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected);
});
