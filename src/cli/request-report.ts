/** How a certificate and its checks look on a terminal and as JSON. */
import type { CertificateSummary } from './request-certificate.js';
import type { CertificateCheck } from './verify-certificate.js';

export interface Style {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly strong: (text: string) => string;
}

const plain: Style = { good: same, bad: same, dim: same, strong: same };
const ansi: Style = { good: sgr(32), bad: sgr(31), dim: sgr(2), strong: sgr(1) };

export function styleOf(colour: boolean): Style {
  return colour ? ansi : plain;
}

function same(text: string): string {
  return text;
}

function sgr(code: number): (text: string) => string {
  return (text) => `\u001b[${code}m${text}\u001b[0m`;
}

/** Two columns, indented by two. */
export function table(rows: readonly (readonly [string, string])[], style: Style): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `  ${style.dim(label.padEnd(width))}  ${value}\n`).join('');
}

/** The certificate in words: who, from where, when, and its place in the log. */
export function certificateText(summary: CertificateSummary, style: Style): string {
  const { identity, tokenIssuer, notBefore, notAfter } = summary;
  const rows: [string, string][] = [
    ['identity', `${style.strong(identity.value)} (${identity.kind})`],
    ['token issuer', tokenIssuer ?? 'not named'],
    ['valid', `${time(notBefore)} to ${time(notAfter)} (${duration(notAfter.getTime() - notBefore.getTime())})`],
    ['serial', summary.serial],
    ['issued by', summary.issuer],
    ['log index', summary.logIndex === undefined ? 'the SCT does not say' : String(summary.logIndex)],
  ];
  return table(rows, style);
}

const marks: Readonly<Record<CertificateCheck['status'], readonly [string, keyof Style]>> = {
  passed: ['ok', 'good'],
  failed: ['FAILED', 'bad'],
  skipped: ['not checked', 'dim'],
};

/** One line a check. */
export function checksText(checks: readonly CertificateCheck[], style: Style): string {
  const name = Math.max(...checks.map((check) => check.name.length));
  const mark = Math.max(...checks.map((check) => marks[check.status][0].length));
  return checks
    .map((check) => {
      const [word, colour] = marks[check.status];
      return `  ${check.name.padEnd(name)}  ${style[colour](word.padEnd(mark))}  ${check.detail}\n`;
    })
    .join('');
}

/** 2026-11-21 05:29:23 UTC */
export function time(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

function duration(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 1) return `${Math.round(ms / 1000)} seconds`;
  return minutes < 120 ? `${Number(minutes.toFixed(1))} minutes` : `${Number((minutes / 60).toFixed(1))} hours`;
}
