import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { emailIssuerConfig, startCa } from './ca-server.js';
import { mustRun, run } from './command.js';
import { type Lab, openLab } from './lab.js';
import { type Claims, startOidcIssuer } from './oidc-issuer.js';
import { type CaDepth, type KeyKind, makeCa } from './openssl-ca.js';
import { certificatesIn, requestV1 } from './v1-client.js';
import { workflowIdentity, workflowIssuerConfig, workflowRun } from './workflow.js';

const jane = 'jane@example.com';

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(() => lab.close());

interface Case {
  readonly name: string;
  readonly chain?: readonly [KeyKind, CaDepth];
  readonly config: (issuerUrl: string) => string;
  readonly account: Claims;
  /** What the client signs as proof of possession. */
  readonly subject: string;
  readonly san: string;
  /** Readable values of the identity extensions, by OID. */
  readonly extensions: (issuerUrl: string) => Readonly<Record<string, string>>;
}

const person = {
  config: emailIssuerConfig,
  account: { sub: 'account-4711', email: jane, email_verified: true },
  subject: jane,
  san: `email:${jane}`,
  extensions: (issuerUrl: string) => ({
    '1.3.6.1.4.1.57264.1.1': issuerUrl,
    '1.3.6.1.4.1.57264.1.8': issuerUrl,
    '1.3.6.1.4.1.57264.1.24': 'account-4711',
  }),
};
const workflow = {
  config: workflowIssuerConfig,
  account: workflowRun,
  subject: workflowRun.sub,
  san: `URI:${workflowIdentity}`,
  extensions: (issuerUrl: string) => ({
    '1.3.6.1.4.1.57264.1.1': issuerUrl,
    '1.3.6.1.4.1.57264.1.4': 'Release & publish',
    '1.3.6.1.4.1.57264.1.9': workflowIdentity,
    '1.3.6.1.4.1.57264.1.12': 'https://github.com/octo-org/octo-repo',
    '1.3.6.1.4.1.57264.1.21': 'https://github.com/octo-org/octo-repo/actions/runs/1234567890/attempts/2',
    '1.3.6.1.4.1.57264.1.23': 'public-release',
  }),
};
const cases: Case[] = [
  { name: "a person's certificate of the data directory's CA", ...person },
  { name: "a person's certificate of a P-256 root", chain: ['P-256', 'root only'], ...person },
  { name: "a person's certificate of a P-384 intermediate", chain: ['P-384', 'with intermediate'], ...person },
  { name: "a workflow's certificate of an RSA intermediate", chain: ['RSA-3072', 'with intermediate'], ...workflow },
];

/** OpenSSL knows the purpose codesign since 3.2; before that the extended key usage is only read in the text. */
async function purpose(): Promise<string> {
  const help = await run('openssl', ['verify', '-help'], { cwd: lab.dir });
  return `${help.stdout}${help.stderr}`.includes('codesign') ? 'codesign' : 'any';
}

/** The line that openssl prints below a heading. */
function lineAfter(text: string, heading: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  const at = lines.indexOf(heading);
  return at < 0 ? `there is no "${heading}"` : (lines[at + 1] ?? '');
}

test.each(cases)('openssl verifies and reads $name', async (c) => {
  const issuer = lab.keep(await startOidcIssuer({ algorithm: 'RS256', accounts: [c.account] }));
  const files = c.chain && (await makeCa(lab.dir, ...c.chain));
  const config = c.config(issuer.url);
  const ca = lab.keep(await startCa({ dir: lab.dir, config, log: true, ...(files && { files }) }));
  const answer = await requestV1(ca.url, await issuer.idToken(c.account.sub), c.subject, 'as cosign 2');
  expect(answer).toMatchObject({ status: 201 });
  const [leaf, ...issuers] = certificatesIn(answer.body).map(String);
  const trusted = certificatesIn(await readFile(files?.chainPath ?? join(ca.trustDir, 'ca.pem'), 'utf8')).map(String);
  await writeFile(join(lab.dir, 'leaf.pem'), leaf ?? '');
  await writeFile(join(lab.dir, 'untrusted.pem'), issuers.slice(0, -1).join('\n') || issuers.join('\n'));
  await writeFile(join(lab.dir, 'trusted.pem'), trusted.at(-1) ?? '');

  const chainArgs = [
    '-x509_strict',
    '-purpose',
    await purpose(),
    '-CAfile',
    'trusted.pem',
    '-untrusted',
    'untrusted.pem',
  ];
  const verified = await mustRun('openssl', ['verify', ...chainArgs, 'leaf.pem'], { cwd: lab.dir });
  expect(verified.stdout).toBe('leaf.pem: OK\n');

  const { stdout: text } = await mustRun('openssl', ['x509', '-in', 'leaf.pem', '-noout', '-text'], { cwd: lab.dir });
  expect(text).toMatch(/Subject: *\n/);
  expect(lineAfter(text, 'X509v3 Subject Alternative Name: critical')).toBe(c.san);
  expect(lineAfter(text, 'X509v3 Key Usage: critical')).toBe('Digital Signature');
  expect(lineAfter(text, 'X509v3 Extended Key Usage:')).toBe('Code Signing');
  for (const [oid, value] of Object.entries(c.extensions(issuer.url))) {
    expect(lineAfter(text, `${oid}:`)).toContain(value);
  }
  expect(lineAfter(text, 'CT Precertificate SCTs:')).toBe('Signed Certificate Timestamp:');
});
