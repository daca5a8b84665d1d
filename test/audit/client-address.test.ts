import fc from 'fast-check';
import { type AddressRange, clientAddressOf, parseAddressRange } from '../../src/client-address.js';

const ranges = (...texts: string[]) =>
  texts.map(parseAddressRange).filter((range): range is AddressRange => range !== undefined);
const behind = clientAddressOf(ranges('10.0.0.0/8', 'fd00::/8', '192.0.2.1'));

const cases: readonly [
  peer: string | undefined,
  header: string | undefined,
  client: string | undefined,
  why: string,
][] = [
  ['198.51.100.1', '203.0.113.9', '198.51.100.1', 'a peer that is no proxy is the client, whatever it claims'],
  ['10.0.0.1', '203.0.113.9', '203.0.113.9', 'a proxy says who the client is'],
  ['::ffff:10.0.0.1', '203.0.113.9', '203.0.113.9', 'also one that came over an IPv6 socket'],
  ['10.0.0.1', '1.1.1.1, 203.0.113.9', '203.0.113.9', 'what the client wrote before that does not count'],
  ['10.0.0.1', '203.0.113.9, 10.0.0.7, 192.0.2.1', '203.0.113.9', 'proxies may stand in a row'],
  ['fd00::1', '2001:db8::7', '2001:db8::7', 'over IPv6 too'],
  ['10.0.0.1', '10.0.0.2', '10.0.0.2', 'a client inside the network'],
  ['10.0.0.1', undefined, '10.0.0.1', 'a proxy that says nothing'],
  ['10.0.0.1', 'unknown', '10.0.0.1', 'a proxy that says nothing usable'],
  ['10.0.0.1', '203.0.113.9, 127.1', '10.0.0.1', 'another spelling of an address is none'],
  [undefined, '203.0.113.9', undefined, 'no peer'],
];

test.each(cases)('peer %s with X-Forwarded-For %s is %s: %s', (peer, header, expected) => {
  expect(behind(peer, header)).toBe(expected);
});

test('without trusted proxies the header is not looked at', () => {
  expect(clientAddressOf(undefined)('10.0.0.1', '203.0.113.9')).toBe('10.0.0.1');
});

test('whatever the header holds, the answer is an address, and the peer unless the peer is trusted', () => {
  fc.assert(
    fc.property(fc.string(), (header) => {
      expect(behind('198.51.100.1', header)).toBe('198.51.100.1');
      expect(parseAddressRange(behind('10.0.0.1', header) ?? '')).toBeDefined();
    }),
  );
});

test.each(['', 'x', '10.0.0.0/33', '10.0.0/8', '300.1.1.1', '::1/129', '10.0.0.0/-1'])('%j is no range', (text) => {
  expect(parseAddressRange(text)).toBeUndefined();
});
