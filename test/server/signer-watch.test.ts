import { generateKeyPairSync } from 'node:crypto';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { watchSigner } from '../../src/server/signer-watch.js';

test('a signer that failed is trouble until it signs again, or a request may find out again', async () => {
  let now = 0;
  let broken = false;
  const real = createKeySigner(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const { signer, trouble } = watchSigner(
    {
      ...real,
      sign: (data) => (broken ? Promise.reject(new Error('the token was removed')) : real.sign(data)),
    },
    () => now,
  );
  await signer.sign(Buffer.from('a'));
  expect(trouble()).toBeUndefined();
  broken = true;
  await expect(signer.sign(Buffer.from('a'))).rejects.toThrow('removed');
  expect(trouble()).toBe('the key of the certificate authority cannot sign: the token was removed');
  now += 15_000;
  expect(trouble()).toBeUndefined();
  await expect(signer.sign(Buffer.from('a'))).rejects.toThrow('removed');
  broken = false;
  await signer.sign(Buffer.from('a'));
  expect(trouble()).toBeUndefined();
});
