import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { parseIdentityConfig } from '../../src/config/identity.js';
import { AppError } from '../../src/errors.js';

const issuer = (fields: string, url = 'https://id.example.com') =>
  `oidc-issuers:\n  ${url}:\n    client-id: sigstore\n${fields.replace(/^/gm, '    ')}\n`;
const meta = (fields: string, url: string) => issuer(fields, url).replace('oidc-issuers', 'meta-issuers');
const provider = (fields: string) =>
  `ci-issuer-metadata:\n  ci:\n    subject-alternative-name-template: "https://ci.example.com/{{ .sub }}"\n${fields.replace(/^/gm, '    ')}\n`;

const failure = (text: string): string => {
  try {
    parseIdentityConfig(text, 'conf/id.yaml');
  } catch (error) {
    if (error instanceof AppError && error.code === 'STARTUP') return error.detail;
    throw error;
  }
  return 'it loaded';
};

describe('parseIdentityConfig', () => {
  test('reads YAML with kebab-case keys', () => {
    const config = parseIdentityConfig(
      `${issuer('type: ci-provider\nci-provider: ci\nenvironment: staging\ncontact: a@b.example')}${provider(
        'default-template-values: { url: "https://ci.example.com", retries: 3, none: }\nfixed-template-values: { host: h }\nextension-templates: { build-trigger: event, source-repository-uri: "" }',
      )}`,
      'id.yaml',
    );
    expect(config.warnings).toEqual([]);
    expect(config.issuers[0]).toMatchObject({
      url: 'https://id.example.com',
      wildcard: false,
      clientId: 'sigstore',
      type: 'ci-provider',
      environment: 'staging',
      contact: 'a@b.example',
      skipEmailVerification: false,
    });
    const ci = config.ciProviders.get('ci');
    expect([...(ci?.defaults ?? [])]).toEqual([
      ['url', 'https://ci.example.com'],
      ['retries', '3'],
      ['none', ''],
    ]);
    expect([...(ci?.fixed ?? [])]).toEqual([['host', 'h']]);
    expect(ci?.extensions.map(({ name, template }) => [name, template.source])).toEqual([['buildTrigger', 'event']]);
    expect(config.issuers[0]?.ciProvider).toBe(ci);
  });

  test('reads JSON with PascalCase keys, indented with tabs', () => {
    const text = JSON.stringify(
      {
        OIDCIssuers: {
          'https://spire.example.com': {
            IssuerURL: 'https://spire.example.com',
            ClientID: 'sigstore',
            Type: 'spiffe',
            SPIFFETrustDomain: 'example.com',
          },
        },
        MetaIssuers: { 'https://*.example.com/a/*': { ClientID: 'x', Type: 'ci-provider', CIProvider: 'ci' } },
        CIIssuerMetadata: {
          ci: {
            ExtensionTemplates: { GithubWorkflowSHA: 'sha', BuildSignerURI: '{{ .uri }}' },
            SubjectAlternativeNameTemplate: '{{ .uri }}',
          },
        },
      },
      null,
      '\t',
    );
    const config = parseIdentityConfig(text, 'id.json');
    expect(config.issuers[0]).toMatchObject({ type: 'spiffe', spiffeTrustDomain: 'example.com' });
    expect(config.metaIssuers[0]).toMatchObject({ url: 'https://*.example.com/a/*', wildcard: true });
    expect(config.metaIssuers[0]?.ciProvider?.extensions.map(({ name }) => name)).toEqual([
      'githubWorkflowSha',
      'buildSignerUri',
    ]);
  });

  test('reads aliases as keys with no space before the colon, and leaves look-alikes in strings alone', () => {
    const config = parseIdentityConfig(
      `define:
  - &own-type "own-ci"
oidc-issuers:
  https://ci.example.com:
    client-id: sigstore
    type: ci-provider
    ci-provider: *own-type
    description: |
      *own-type: is an alias
ci-issuer-metadata:
  *own-type:
    subject-alternative-name-template: '{{ .uri }}'
    extension-templates:
      build-trigger: "event" # *own-type:
`,
      'id.yaml',
    );
    expect([...config.ciProviders.keys()]).toEqual(['own-ci']);
    expect(config.issuers[0]?.description).toBe('*own-type: is an alias\n');
    expect(config.warnings).toEqual([]);
  });

  test('applies merge keys, an own key winning', () => {
    const config = parseIdentityConfig(
      `define: &base { client-id: sigstore, type: email, contact: a }\noidc-issuers:\n  https://a.example:\n    <<: *base\n    contact: b\n`,
      'id.yaml',
    );
    expect(config.issuers[0]).toMatchObject({ clientId: 'sigstore', type: 'email', contact: 'b' });
  });

  test('loads a ci-provider without metadata with a warning', () => {
    const config = parseIdentityConfig(issuer('type: ci-provider\nci-provider: cx') + provider(''), 'id.yaml');
    expect(config.issuers[0]?.ciProvider).toBeUndefined();
    expect(config.warnings).toEqual([
      'id.yaml:5: oidc-issuers["https://id.example.com"].ci-provider: "cx" has no entry under ci-issuer-metadata, so its tokens are refused; did you mean "ci"?',
      'id.yaml:7: ci-issuer-metadata.ci: no issuer has "ci-provider: ci"',
    ]);
  });

  test('warns of an issuer without TLS, unless it is on loopback', () => {
    const warningsOf = (url: string) => parseIdentityConfig(issuer('type: email', url), 'id.yaml').warnings;
    expect(warningsOf('http://idp.example.com')).toEqual([
      expect.stringContaining('id.yaml:2: oidc-issuers["http://idp.example.com"]: is http'),
    ]);
    expect(warningsOf('http://127.0.0.1.example.com/x').length).toBe(1);
    for (const local of ['http://127.0.0.1:9110', 'http://localhost', 'http://localhost:80/x'])
      expect(warningsOf(local)).toEqual([]);
  });

  test('an empty configuration loads with a warning', () => {
    expect(parseIdentityConfig('{}', 'id.yaml').warnings).toEqual([
      'id.yaml:1: names no issuer under oidc-issuers or meta-issuers, so every token is refused',
    ]);
  });

  test('resolves jwks-file beside the configuration file', () => {
    const config = parseIdentityConfig(issuer('type: email\njwks-file: keys/idp.json'), '/etc/mayfly/id.yaml');
    expect(config.issuers[0]?.jwksFile).toBe('/etc/mayfly/keys/idp.json');
  });

  const publicFile = fileURLToPath(new URL('../../../shared/fulcio/public-instance-config.yaml', import.meta.url));
  (existsSync(publicFile) ? test : test.skip)("loads the public instance's file unmodified", () => {
    const config = parseIdentityConfig(readFileSync(publicFile, 'utf8'), 'public.yaml');
    expect([config.issuers.length, config.metaIssuers.length, config.ciProviders.size]).toEqual([22, 9, 6]);
    expect(config.warnings).toEqual([]);
    expect(config.issuers.filter(({ type, ciProvider }) => type === 'ci-provider' && !ciProvider)).toEqual([]);
  });

  const at = 'conf/id.yaml:4: oidc-issuers["https://id.example.com"]';
  test.each([
    ['text that is no YAML', 'a: [', 'conf/id.yaml:1: is not valid YAML: '],
    ['an empty file', '', 'conf/id.yaml:1: the file is empty; expected a mapping'],
    ['a list', '- a', 'conf/id.yaml:1: is a list; expected a mapping'],
    ['two documents', 'a: 1\n---\nb: 1', 'conf/id.yaml:2: is not valid YAML: '],
    [
      'an unknown top key',
      'oidc-issuer: {}',
      'conf/id.yaml:1: oidc-issuer: is not a known key; did you mean "oidc-issuers"?',
    ],
    ['an alias without anchor', 'oidc-issuers: *x', 'conf/id.yaml:1: '],
    ['an unknown issuer key', issuer('typo: email'), `${at}.typo: is not a known key; did you mean "type"?`],
    [
      'a key twice',
      issuer('type: email\ntype: uri'),
      'conf/id.yaml:5: oidc-issuers["https://id.example.com"].type: the key is there twice; first on line 4',
    ],
    [
      'a key in both spellings',
      issuer('type: email\nType: uri'),
      'conf/id.yaml:5: oidc-issuers["https://id.example.com"].Type: is the same setting as "type" on line 4',
    ],
    [
      'an issuer twice',
      `${issuer('type: email')}  https://id.example.com: {}`,
      'conf/id.yaml:5: oidc-issuers["https://id.example.com"]: the key is there twice',
    ],
    [
      'no type',
      'oidc-issuers: { "https://a.example": { client-id: x } }',
      'conf/id.yaml:1: oidc-issuers["https://a.example"]: has no type; expected one of email, ',
    ],
    ['an unknown type', issuer('type: emial'), `${at}.type: "emial" is not an issuer type; did you mean "email"?`],
    [
      'no client-id',
      'oidc-issuers: { "https://a.example": { type: email } }',
      'conf/id.yaml:1: oidc-issuers["https://a.example"]: has no client-id',
    ],
    [
      'another issuer-url',
      issuer('issuer-url: https://other.example'),
      `${at}.issuer-url: is "https://other.example", but`,
    ],
    [
      'a URL that is none',
      issuer('type: email', 'id.example.com'),
      'conf/id.yaml:2: oidc-issuers["id.example.com"]: is not an issuer; expected an http or https URL',
    ],
    [
      'a URL with a query',
      issuer('type: email', '"https://a.example/?x=1"'),
      'conf/id.yaml:2: oidc-issuers["https://a.example/?x=1"]: is not an issuer',
    ],
    [
      'a URL with a user',
      issuer('type: email', 'https://u@a.example'),
      'conf/id.yaml:2: oidc-issuers["https://u@a.example"]: is not an issuer',
    ],
    [
      'a wildcard among the exact',
      issuer('type: email', 'https://*.a.example'),
      'conf/id.yaml:2: oidc-issuers["https://*.a.example"]: has a *',
    ],
    [
      'a meta-issuer without one',
      meta('type: email', 'https://a.example'),
      'conf/id.yaml:2: meta-issuers["https://a.example"]: has no *',
    ],
    [
      'two stars in a label',
      meta('type: email', 'https://*-*.a.example'),
      'conf/id.yaml:2: meta-issuers["https://*-*.a.example"]: has two *',
    ],
    [
      'a star in the port',
      meta('type: email', 'https://a.example:*/x'),
      'conf/id.yaml:2: meta-issuers["https://a.example:*/x"]: ',
    ],
    [
      'a spiffe meta-issuer',
      meta('type: spiffe\nspiffe-trust-domain: a.example', 'https://a.example/*'),
      'conf/id.yaml:2: meta-issuers["https://a.example/*"]: type spiffe is not possible',
    ],
    [
      'a spiffe issuer without trust domain',
      issuer('type: spiffe'),
      'conf/id.yaml:2: oidc-issuers["https://id.example.com"]: has no spiffe-trust-domain',
    ],
    [
      'a trust domain in capitals',
      issuer('spiffe-trust-domain: Example.com\ntype: spiffe'),
      `${at}.spiffe-trust-domain: "Example.com" is not a trust domain`,
    ],
    [
      'issuer-claim on uri',
      issuer('issuer-claim: $.a\ntype: uri'),
      `${at}.issuer-claim: is possible for type email only`,
    ],
    [
      'an issuer-claim that is no path',
      issuer('issuer-claim: $..a\ntype: email'),
      `${at}.issuer-claim: "$..a" is not supported`,
    ],
    [
      'no subject-domain',
      issuer('type: username'),
      'conf/id.yaml:2: oidc-issuers["https://id.example.com"]: has no subject-domain',
    ],
    [
      'a foreign subject-domain',
      issuer('subject-domain: example.org\ntype: username'),
      `${at}.subject-domain: "example.org" has another domain than the issuer's host "id.example.com"`,
    ],
    [
      'a suffix of the domain',
      issuer('subject-domain: com\ntype: username'),
      `${at}.subject-domain: "com" has another domain`,
    ],
    [
      'a name that ends alike',
      issuer('subject-domain: badexample.com\ntype: username'),
      `${at}.subject-domain: "badexample.com" has another domain`,
    ],
    [
      'a username domain with a scheme',
      issuer('subject-domain: https://example.com\ntype: username'),
      `${at}.subject-domain: "https://example.com" is not a domain`,
    ],
    [
      'a uri domain without a scheme',
      issuer('subject-domain: example.com\ntype: uri'),
      `${at}.subject-domain: "example.com" has no scheme`,
    ],
    ['a CA that is no PEM', issuer('ca-cert: x\ntype: email'), `${at}.ca-cert: holds no certificate`],
    [
      'a CA that is broken',
      issuer('ca-cert: "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----"\ntype: email'),
      `${at}.ca-cert: certificate 1 of 1 cannot be parsed`,
    ],
    [
      'a flag that is text',
      issuer('skip-email-verification: "yes"\ntype: email'),
      `${at}.skip-email-verification: is "yes"; expected true or false`,
    ],
    ['a mapping for text', issuer('contact: { a: b }\ntype: email'), `${at}.contact: is a mapping; expected text`],
    [
      'a jwks-file for many',
      meta('type: email\njwks-file: x', 'https://a.example/*'),
      'conf/id.yaml:5: meta-issuers["https://a.example/*"].jwks-file: is not possible',
    ],
    [
      'metadata without a SAN',
      'ci-issuer-metadata: { ci: {} }',
      'conf/id.yaml:1: ci-issuer-metadata.ci: has no subject-alternative-name-template',
    ],
    [
      'an unknown extension',
      provider('extension-templates:\n  build-signer-url: x'),
      'conf/id.yaml:5: ci-issuer-metadata.ci.extension-templates.build-signer-url: is not a known key; did you mean "build-signer-uri"?',
    ],
    [
      'a template that is not supported',
      provider('extension-templates:\n  build-trigger: "{{ .a | upper }}"'),
      'conf/id.yaml:5: ci-issuer-metadata.ci.extension-templates.build-trigger: the template cannot be used: unexpected "|"',
    ],
    [
      'a value fixed and default',
      provider('default-template-values: { u: a }\nfixed-template-values: { u: b }'),
      'conf/id.yaml:2: ci-issuer-metadata.ci: "u" is a default and a fixed template value',
    ],
  ])('refuses %s', (_what, text, expected) => {
    expect(failure(text)).toContain(expected);
  });

  test('any text loads or is refused with file and line', () => {
    const word = fc.constantFrom(
      'oidc-issuers',
      'https://a.example',
      'type',
      'email',
      '*a',
      '&a',
      '<<',
      '- ',
      ': ',
      '\n',
      '  ',
      '{',
      '}',
      '"',
      '|',
      '{{',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(word, { maxLength: 40 }).map((words) => words.join('')),
    );
    fc.assert(
      fc.property(text, (input) => {
        const message = failure(input);
        return message === 'it loaded' || /^conf\/id\.yaml:\d+: ./.test(message);
      }),
      { numRuns: 500 },
    );
  });
});
