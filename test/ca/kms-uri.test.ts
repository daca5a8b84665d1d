import fc from 'fast-check';
import { parseKmsUri } from '../../src/ca/kms-uri.js';

const uuid = '1234abcd-12ab-34cd-56ef-1234567890ab';
const arn = 'arn:aws:kms:us-east-2:111122223333:';
const gcp = 'projects/pp/locations/global/keyRings/rr/cryptoKeys/kk';
const refused = (uri: string) => {
  try {
    parseKmsUri(uri, '--kms-resource');
  } catch (error) {
    return error;
  }
  throw new Error(`${uri} was accepted`);
};

test.each([
  [`awskms:///${uuid}`, { provider: 'aws', keyId: uuid }],
  [`awskms:///mrk-${'0'.repeat(32)}`, { provider: 'aws', keyId: `mrk-${'0'.repeat(32)}` }],
  [`awskms://localhost:4566/${uuid}`, { provider: 'aws', keyId: uuid, endpoint: 'localhost:4566' }],
  [`awskms:///${arn}key/${uuid}`, { provider: 'aws', keyId: `${arn}key/${uuid}`, region: 'us-east-2' }],
  ['awskms:///alias/a/b_c-d', { provider: 'aws', keyId: 'alias/a/b_c-d' }],
  ['awskms://kms.example.com/alias/ca', { provider: 'aws', keyId: 'alias/ca', endpoint: 'kms.example.com' }],
  [`awskms:///${arn}alias/ca`, { provider: 'aws', keyId: `${arn}alias/ca`, region: 'us-east-2' }],
  [
    `awskms:///arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/${uuid}`,
    { provider: 'aws', keyId: `arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/${uuid}`, region: 'us-gov-west-1' },
  ],
  [`gcpkms://${gcp}`, { provider: 'gcp', key: gcp }],
  [`gcpkms://${gcp}/cryptoKeyVersions/12`, { provider: 'gcp', key: gcp, version: '12' }],
  [`gcpkms://${gcp}/versions/1`, { provider: 'gcp', key: gcp, version: '1' }],
  [
    'gcpkms://projects/example.com:pp/locations/eu/keyRings/r/cryptoKeys/k',
    { provider: 'gcp', key: 'projects/example.com:pp/locations/eu/keyRings/r/cryptoKeys/k' },
  ],
  ['azurekms://v.vault.azure.net/ca', { provider: 'azure', vaultUrl: 'https://v.vault.azure.net/', name: 'ca' }],
  [
    'azurekms://v.managedhsm.azure.net/ca/0123abc',
    { provider: 'azure', vaultUrl: 'https://v.managedhsm.azure.net/', name: 'ca', version: '0123abc' },
  ],
  ['azurekms://localhost:8443/ca/', { provider: 'azure', vaultUrl: 'https://localhost:8443/', name: 'ca' }],
  ['hashivault://ca.key-1', { provider: 'vault', name: 'ca.key-1' }],
  ['openbao://c', { provider: 'vault', name: 'c' }],
])('parseKmsUri reads %s', (uri, expected) => {
  expect(parseKmsUri(uri, '--kms-resource')).toEqual(expected);
});

test.each([
  ['', 'is empty; expected a KMS key: awskms://'],
  ['ca.pem', 'is "ca.pem"; expected a KMS key: awskms://, gcpkms://, azurekms://, hashivault://, openbao://'],
  ['k8skms://ns/key', 'expected a KMS key: awskms://'],
  ['AWSKMS:///alias/ca', 'expected a KMS key'],
  ['aws-kms:///alias/ca', 'expected awskms:///KEY'],
  [`gcp-kms://${gcp}`, 'expected gcpkms://projects/'],
  [`awskms://${uuid}`, 'without a host there are three slashes'],
  ['awskms://alias/ca', 'three slashes'],
  [`awskms://${arn}key/${uuid}`, 'three slashes'],
  ['awskms:///missingalias', 'expected awskms:///KEY'],
  ['awskms:///alias/', 'expected awskms:///KEY'],
  [`awskms:///${uuid}/..`, 'expected awskms:///KEY'],
  [`awskms:///arn:aws:s3:us-east-2:111122223333:key/${uuid}`, 'expected awskms:///KEY'],
  [`awskms://localhost:0/${uuid}`, 'expected awskms:///KEY'],
  [`awskms://localhost:99999/${uuid}`, 'expected awskms:///KEY'],
  [`awskms://evil.example.com#.aws/${uuid}`, 'expected awskms:///KEY'],
  [`gcpkms://${gcp}/cryptoKeyVersions/`, 'expected gcpkms://projects/'],
  [`gcpkms://${gcp}/cryptoKeyVersions/latest`, 'expected gcpkms://projects/'],
  [`gcpkms://${gcp}/cryptoKeyVersions/0`, 'expected gcpkms://projects/'],
  [`gcpkms://${gcp}/cryptoKeyVersions/1/..`, 'expected gcpkms://projects/'],
  ['gcpkms://projects/../locations/l/keyRings/r/cryptoKeys/k?x=y', 'expected gcpkms://projects/'],
  ['azurekms://myvault/ca', 'the whole name of the vault, such as example.vault.azure.net'],
  ['azurekms://v.vault.azure.net', 'expected azurekms://HOST/KEY'],
  ['azurekms://v.vault.azure.net/ca/v/x', 'expected azurekms://HOST/KEY'],
  ['azurekms://v.vault.azure.net\\@evil.example/ca', 'which is not shown since it may hold a password'],
  ['azurekms://v..net/ca', 'expected azurekms://HOST/KEY'],
  ['hashivault://team/ca', 'expected hashivault://KEY'],
  ['hashivault://ca?version=2', 'expected hashivault://KEY'],
  ['hashivault://..', 'expected hashivault://KEY'],
  ['hashivault://.ca', 'expected hashivault://KEY'],
  ['hashivault://ca%2fx', 'expected hashivault://KEY'],
  ['hashivault://ca\n', 'too long or not plain ASCII'],
  ['hashivault://clé', 'too long or not plain ASCII'],
  [`hashivault://${'a'.repeat(300)}`, 'too long or not plain ASCII'],
  ['hashivault://user:hunter2@vault/ca', 'a text with "@" in it, which is not shown'],
  ['__proto__://x', 'expected a KMS key'],
  ['constructor://x', 'expected a KMS key'],
])('parseKmsUri refuses %j', (uri, message) => {
  const error = refused(uri);
  expect(error).toMatchObject({ code: 'STARTUP', detail: expect.stringContaining(message) });
  expect(error).toMatchObject({ detail: expect.stringMatching(/^--kms-resource is /) });
  expect(error).not.toMatchObject({ detail: expect.stringContaining('hunter2') });
});

const schemes = ['awskms', 'gcpkms', 'azurekms', 'hashivault', 'openbao'];
const piece = fc.constantFrom(
  '/',
  ':',
  '@',
  '..',
  'alias/',
  'projects/',
  '%2f',
  '?',
  '#',
  ' ',
  '\n',
  'é',
  'a',
  '1',
  '.',
  uuid,
);

test('parseKmsUri gives a key or a start-up error, whatever it is given, and no name that leaves its place', () => {
  const text = fc.oneof(
    fc.string(),
    fc.tuple(fc.constantFrom(...schemes), fc.array(piece, { maxLength: 8 })).map(([s, p]) => `${s}://${p.join('')}`),
  );
  fc.assert(
    fc.property(text, (uri) => {
      try {
        const values = Object.values(parseKmsUri(uri, 'x'));
        expect(values.join(' ')).toMatch(/^[\x20-\x7e]+$/);
        for (const value of values) expect(`${value}`).not.toMatch(/[?#@%\\\s]|(?:^|\/)\.\.?(?:\/|$)/);
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'STARTUP') throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
