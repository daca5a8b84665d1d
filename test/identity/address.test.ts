import fc from 'fast-check';
import { addressKind, isInternalName } from '../../src/identity/address.js';

describe('addressKind', () => {
  test.each([
    ['8.8.8.8', 'public'],
    ['2606:4700::1111', 'public'],
    ['::ffff:8.8.8.8', 'public'],
    ['64:ff9b::8.8.8.8', 'public'],
    ['10.1.2.3', 'private'],
    ['172.16.0.1', 'private'],
    ['192.168.1.1', 'private'],
    ['100.64.0.1', 'private'],
    ['127.0.0.1', 'private'],
    ['127.255.255.254', 'private'],
    ['::1', 'private'],
    ['fd12::1', 'private'],
    ['::ffff:10.0.0.1', 'private'],
    ['::ffff:7f00:1', 'private'],
    ['64:ff9b::a00:1', 'private'],
    ['169.254.169.254', 'never'],
    ['::ffff:169.254.169.254', 'never'],
    ['64:ff9b::a9fe:a9fe', 'never'],
    ['fe80::1', 'never'],
    ['fd00:ec2::254', 'never'],
    ['168.63.129.16', 'never'],
    ['100.100.100.200', 'never'],
    ['0.0.0.0', 'never'],
    ['::', 'never'],
    ['255.255.255.255', 'never'],
    ['224.0.0.251', 'never'],
    ['ff02::1', 'never'],
    ['240.0.0.1', 'never'],
    ['2002:a00:1::', 'never'],
    ['not an address', 'never'],
    ['', 'never'],
  ])('%s is %s', (address, kind) => {
    expect(addressKind(address)).toBe(kind);
  });

  test('an IPv4 address keeps its kind inside a mapped one', () => {
    fc.assert(fc.property(fc.ipV4(), (address) => addressKind(`::ffff:${address}`) === addressKind(address)));
  });
});

test.each([
  ['localhost', true],
  ['LOCALHOST.', true],
  ['metadata.google.internal', true],
  ['a.localhost', true],
  ['printer.local', true],
  ['kubernetes', true],
  ['id.example.com', false],
  ['internal.example.com', false],
])('isInternalName(%s) is %s', (name, internal) => {
  expect(isInternalName(name)).toBe(internal);
});
