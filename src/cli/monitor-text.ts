import type { InconsistencyEvent, MatchEvent, MonitorEvent } from '../monitor/events.js';

const maxShown = 300;

/** An event for people. Every text of a certificate is shown so that it can change nothing else on the terminal. */
export function eventText(event: MonitorEvent): string {
  const repeated = event.repeated === true ? '  (may have been told before)' : '';
  return event.type === 'match' ? matchText(event, repeated) : inconsistencyText(event, repeated);
}

function matchText(event: MatchEvent, repeated: string): string {
  const { certificate } = event;
  const { issuer, 'issuer-v1': issuerV1, ...extensions } = certificate.extensions;
  const rows: [string, string][] = certificate.names.map(({ kind, value }) => ['identity', `${value} (${kind})`]);
  if (rows.length === 0) rows.push(['subject', certificate.subject]);
  if (issuer !== undefined) rows.push(['issuer', issuer]);
  if (issuerV1 !== undefined && issuerV1 !== issuer) rows.push(['issuer (v1)', issuerV1]);
  rows.push(['valid', `${certificate.notBefore} to ${certificate.notAfter}`]);
  rows.push(['issuing CA', certificate.issuer], ['serial', certificate.serial]);
  rows.push(...Object.entries(extensions));
  if (event.undecided !== undefined) rows.push(['not decided', event.undecided.join(', ')]);
  rows.push(['event', event.id]);
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `  ${name.padEnd(width)}  ${printable(value)}`);
  return `${event.logged}  ${event.entry} in entry ${event.index}${repeated}\n${lines.join('\n')}\n`;
}

function inconsistencyText(event: InconsistencyEvent, repeated: string): string {
  const where = event.index === undefined ? '' : ` in entry ${event.index}`;
  return (
    `${event.time}  INCONSISTENT: ${event.kind}${where}${repeated}\n` +
    `  expected  ${printable(event.expected)}\n  found     ${printable(event.found)}\n  event     ${event.id}\n`
  );
}

/** One line without control, format and bidirectional characters, cut when it is long. */
export function printable(text: string): string {
  const cut = text.length > maxShown ? `${text.slice(0, maxShown)}… (${text.length} characters)` : text;
  return cut.replace(/[\p{C}\p{Zl}\p{Zp}\\]/gu, (char) =>
    char === '\\' ? '\\\\' : `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
