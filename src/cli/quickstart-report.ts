import { join } from 'node:path';
import type { QuickstartPorts } from './quickstart-ports.js';
import { defaultDataDir, demoHost, quickstartPaths } from './quickstart-state.js';
import type { ObtainedCertificate } from './request-certificate.js';
import { certificateText, checksText, styleOf, table } from './request-report.js';

export interface QuickstartReport {
  readonly dataDir: string;
  readonly ports: QuickstartPorts;
  readonly url: string;
  readonly issuer: string;
  readonly email: string;
  /** How this program is called. */
  readonly program: string;
  readonly obtained: ObtainedCertificate;
  readonly colour: boolean;
}

/** Everything the demo has to say: where it runs, what it issued, and what to try next. */
export function reportText(report: QuickstartReport): string {
  const { dataDir, ports, url, issuer, email, obtained } = report;
  const style = styleOf(report.colour);
  const places: [string, string][] = [
    ['certificate authority', url],
    ['page for people', `${url}/ (open it in a browser)`],
    ['transparency log', `${url}/ctlog`],
    ['timestamp authority', `${url}/api/v1/timestamp`],
    ['gRPC', `${demoHost}:${ports.grpc}`],
    ['metrics', `http://${demoHost}:${ports.metrics}/metrics`],
    ['identity provider', `${issuer} (demo: gives everybody a token for ${email})`],
    ['data', dataDir],
  ];
  return [
    `${style.strong('Mayfly is running')}\n${table(places, style)}`,
    `${style.strong('It issued a certificate')}\n${certificateText(obtained.summary, style)}`,
    `${style.strong('The certificate was checked')}\n${checksText(obtained.checks, style)}`,
    `${style.strong('Sign and verify a file with cosign 3')}\n\n${cosignText(report)}`,
  ].join('\n');
}

/** The last line before the demo waits or ends. */
export function endText(once: boolean): string {
  return once ? '\nDone.\n' : '\nServing until Ctrl-C.\n';
}

function cosignText({ dataDir, url, issuer, email, program }: QuickstartReport): string {
  const paths = quickstartPaths(dataDir);
  const file = join(paths.demo, 'hello.txt');
  const bundle = join(paths.demo, 'hello.bundle.json');
  const sign = [
    'cosign sign-blob --yes',
    `--identity-token ${quote(paths.token)}`,
    `--signing-config ${quote(paths.signingConfig)}`,
    `--trusted-root ${quote(paths.trustedRoot)}`,
    `--bundle ${quote(bundle)} ${quote(file)}`,
  ];
  const verify = [
    'cosign verify-blob',
    `--bundle ${quote(bundle)}`,
    `--trusted-root ${quote(paths.trustedRoot)}`,
    `--certificate-identity ${quote(email)}`,
    `--certificate-oidc-issuer ${quote(issuer)}`,
    `--use-signed-timestamps --insecure-ignore-tlog ${quote(file)}`,
  ];
  const dataDirFlag = dataDir === defaultDataDir ? '' : ` --data-dir ${quote(dataDir)}`;
  return `${command(sign)}
${command(verify)}
  The token is good for an hour; a new one: ${program} quickstart token${dataDirFlag}
  The bundle verifies for years: a timestamp in it proves that the certificate was valid when the file was signed.
  For a certificate in a file: ${program} request --url ${url} --identity-token-file ${quote(paths.token)}
`;
}

function command(parts: readonly string[]): string {
  return `  ${parts.join(' \\\n    ')}\n`;
}

/** For a POSIX shell. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
