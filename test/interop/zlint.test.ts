import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type RunningServer, startServer } from '../../src/server/start.js';
import { goodClaims, signToken } from '../fuzz/corpus.js';
import { goodCsrs } from '../fuzz/key-targets.js';
import { fuzzFlags } from '../fuzz/server-process.js';
import { goldenDir, haveGolden } from '../golden/lab.js';
import { post } from '../support/client.js';
import { mustRun, toolPath } from './command.js';

/**
 * What zlint says of every certificate here and why that stays, by the lint's name without its level (which changes from
 * version to version). `fulcioToo`: the real Fulcio's certificates have it as well, which the last test checks.
 */
const accepted: Readonly<Record<string, { readonly why: string; readonly fulcioToo: boolean }>> = {
  ct_sct_policy_count_unsatisfied: {
    why: 'browsers want SCTs of two logs; Sigstore clients want one, and sigstore-python refuses a second',
    fulcioToo: true,
  },
  mp_ecdsa_pub_key_encoding_correct: {
    why: "Mozilla's root programme took P-256 and P-384 only (newer zlint: P-521 too); clients here may have P-521 keys",
    fulcioToo: false,
  },
};
/** Of the CA certificates that a first start makes; Fulcio's root has the same, which the last test checks. */
const acceptedOfCas: Readonly<Record<string, string>> = {
  ca_country_name_missing: 'a rule for TLS on the web; a private CA is named by O and CN, as Sigstore names its own',
  ca_digital_signature_not_set: 'the CA signs certificates and nothing else: neither OCSP answers nor documents',
};
/** The golden uri certificate is of a lab's issuer on http://localhost, which no name of ours has to be. */
const onlyInTheLab = ['ext_san_uri_host_not_fqdn_or_ip'];

const dir = mkdtempSync(join(tmpdir(), 'mayfly-zlint-'));

interface Finding {
  readonly lint: string;
  readonly result: string;
}

/** Every lint that applies and does not pass, notices and warnings included. */
async function lint(pem: string): Promise<Finding[]> {
  const file = join(dir, 'certificate.pem');
  writeFileSync(file, pem);
  const { stdout } = await mustRun(toolPath('bin/zlint'), [file], { cwd: dir });
  const results = Object.entries(JSON.parse(stdout) as Record<string, { result: string }>);
  expect(results.length).toBeGreaterThan(200);
  expect(results.filter(([, { result }]) => result === 'pass').length).toBeGreaterThan(20);
  return results
    .filter(([, { result }]) => !['pass', 'NA', 'NE'].includes(result))
    .map(([name, { result }]) => ({ lint: name.replace(/^[a-z]_/, ''), result }));
}

const unexpected = (findings: readonly Finding[], known: readonly string[]): Finding[] =>
  findings.filter((finding) => !known.includes(finding.lint));

let server: RunningServer;
beforeAll(async () => {
  server = await startServer({ ...fuzzFlags(), 'log-level': 'error' }, { environment: {} });
});
afterAll(() => server.close());

async function certificateFor(claims: object, csr: string): Promise<string> {
  const body = {
    credentials: { oidcIdentityToken: signToken(claims) },
    certificateSigningRequest: Buffer.from(csr).toString('base64'),
  };
  const answer = await post(`${server.url}/api/v2/signingCert`, JSON.stringify(body));
  expect(answer).toMatchObject({ status: 200 });
  const parsed = JSON.parse(answer.text) as { signedCertificateEmbeddedSct: { chain: { certificates: [string] } } };
  return parsed.signedCertificateEmbeddedSct.chain.certificates[0];
}

const [p256 = ''] = goodCsrs;
/** The example configuration lets this issuer's people have certificates for some kinds of key only. */
const choosy = 'https://login.example.com';
const rows = goodClaims.map((claims, i) => ({
  claims,
  iss: String(claims.iss),
  csr: claims.iss === choosy ? p256 : (goodCsrs[i % goodCsrs.length] ?? ''),
}));

test.each(rows)('zlint finds nothing new in a certificate of $iss', async ({ claims, csr }) => {
  expect(unexpected(await lint(await certificateFor(claims, csr)), Object.keys(accepted))).toEqual([]);
});

test.each(goodCsrs.map((csr, i) => [i + 1, csr] as const))(
  'zlint finds nothing new with key kind %i',
  async (_i, csr) => {
    const [claims = {}] = goodClaims;
    expect(unexpected(await lint(await certificateFor(claims, csr)), Object.keys(accepted))).toEqual([]);
  },
);

test('zlint finds nothing in the CA certificates of a fresh data directory', async () => {
  const answer = await fetch(`${server.url}/api/v2/trustBundle`);
  const { chains } = (await answer.json()) as { chains: { certificates: string[] }[] };
  const certificates = chains.flatMap((chain) => chain.certificates);
  expect(certificates.length).toBe(2);
  for (const pem of certificates) expect(unexpected(await lint(pem), Object.keys(acceptedOfCas))).toEqual([]);
});

const goldenFolder = join(goldenDir, 'certificates');
const golden = haveGolden && existsSync(goldenFolder) ? readdirSync(goldenFolder) : [];

(haveGolden ? test : test.skip)("every finding that stays is one of Fulcio's own certificates too", async () => {
  const seen = new Map<string, string>();
  for (const name of golden) {
    const { certificatePem } = JSON.parse(readFileSync(join(goldenFolder, name), 'utf8')) as { certificatePem: string };
    for (const finding of await lint(certificatePem)) seen.set(finding.lint, basename(name, '.json'));
  }
  const fromFulcio = Object.keys(accepted).filter((name) => accepted[name]?.fulcioToo === true);
  expect([...seen.keys()].sort()).toEqual([...fromFulcio, ...onlyInTheLab].sort());
  const { rootPem } = JSON.parse(readFileSync(join(goldenDir, 'ca.json'), 'utf8')) as { rootPem: string };
  const ofRoot = (await lint(rootPem)).map((finding) => finding.lint);
  expect(ofRoot).toEqual(expect.arrayContaining(Object.keys(acceptedOfCas)));
});
