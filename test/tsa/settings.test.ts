import { expect, test } from '@jest/globals';
import { collectFlags } from '../../src/config/flag-sources.js';
import { serveConfig } from '../../src/config/serve.js';

const tsaOf = (flags: Record<string, string>) => serveConfig(collectFlags(flags, {}, undefined)).tsa;

test('there is no timestamp authority unless it is asked for', () => {
  expect(tsaOf({})).toBeUndefined();
  expect(tsaOf({ tsa: 'false' })).toBeUndefined();
});

test('--tsa alone takes its keys from the data directory', () => {
  expect(tsaOf({ tsa: 'true' })).toEqual({ policy: '1.3.6.1.4.1.57264.2', clockLimitMs: 1000 });
});

test('--tsa takes key, password, chain, policy and limit', () => {
  const files = { 'tsa-key': 'k', 'tsa-key-password': 'p', 'tsa-cert-chain': 'c' };
  expect(tsaOf({ tsa: 'true', ...files, 'tsa-policy': '1.2.3', 'tsa-clock-limit': '250ms' })).toEqual({
    key: { in: 'file', keyPath: 'k', password: 'p', chainPath: 'c' },
    policy: '1.2.3',
    clockLimitMs: 250,
  });
});

test('the key may be in a KMS or in an HSM', () => {
  const chain = { tsa: 'true', 'tsa-cert-chain': 'c' };
  expect(tsaOf({ ...chain, 'tsa-kms-resource': 'hashivault://tsa' })).toMatchObject({
    key: { in: 'kms', resource: 'hashivault://tsa', chainPath: 'c' },
  });
  expect(tsaOf({ ...chain, 'tsa-hsm-key-label': 'TSA', 'pkcs11-config-path': 'p11.conf' })).toMatchObject({
    key: { in: 'hsm', keyLabel: 'TSA', configPath: 'p11.conf', chainPath: 'c' },
  });
});

test.each<[Record<string, string>, RegExp]>([
  [{ tsa: 'true', 'tsa-kms-resource': 'k' }, /--tsa-kms-resource and --tsa-cert-chain go together/],
  [
    { tsa: 'true', 'tsa-cert-chain': 'c', 'tsa-key': 'k', 'tsa-kms-resource': 'r' },
    /--tsa-key and --tsa-kms-resource both say where the timestamp key is/,
  ],
  [{ tsa: 'maybe' }, /--tsa is "maybe"; expected true or false/],
  [{ tsa: 'true', 'tsa-key': 'k' }, /go together; --tsa-cert-chain is missing/],
  [{ tsa: 'true', 'tsa-cert-chain': 'c' }, /go together; --tsa-key is missing/],
  [{ tsa: 'true', 'tsa-policy': 'x' }, /--tsa-policy is "x"; expected an object identifier/],
  [{ tsa: 'true', 'tsa-policy': '3.1' }, /expected an object identifier/],
  [{ tsa: 'true', 'tsa-clock-limit': '0s' }, /--tsa-clock-limit is "0s"; expected a duration above zero/],
  [{ 'tsa-key': 'k', 'tsa-cert-chain': 'c' }, /--tsa-key is given, but there is no timestamp authority without --tsa/],
])('%j is refused', (flags, message) => {
  expect(() => tsaOf(flags)).toThrow(message);
});
