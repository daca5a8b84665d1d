import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { findingKinds } from '../monitor/finding.js';
import { type MonitorFlags, monitorSettings } from './monitor-options.js';
import { runMonitor } from './monitor-run.js';
import { processIo } from './request-io.js';

const help = `
Values for the identity are alternatives, as are those for the issuer, for one extension and for the issuing CA; what is
given of these must all match. A glob's * stops at a slash, ** does not; a regular expression (RE2) has to match the whole
text. What cannot be decided is shown, not passed over.

Exit codes: 0 nothing is wrong. 1 the log cannot be read, an event cannot be delivered, or a flag is wrong. 3 the state file is
damaged. The log is inconsistent (the gravest counts):
${Object.entries(findingKinds)
  .map(([kind, code]) => `  ${code} ${kind}`)
  .join('\n')}

Examples:
  mayfly monitor http://localhost:8080 --trusted-root quickstart-data/trust/trusted_root.json --from 0 --all
  mayfly monitor https://ca.example.com --public-key ctlog.pub.pem --state monitor.json \\
    --identity release@example.com --issuer https://accounts.example.com --webhook https://alerts.example.com/ct
  mayfly monitor https://log.example.com/2026 --public-key log.pem --state monitor.json --once --json \\
    --extension-glob 'source-repository-uri=https://github.com/example/*'
`;

/** `mayfly monitor URL`: follows a transparency log. */
export function registerMonitor(program: Command, done: (code: number) => void): void {
  const command = program
    .command('monitor')
    .description('follow a transparency log: show certificates as they appear, and everything that is inconsistent')
    .argument('<url>', 'the log: a static-ct-api monitoring prefix, an RFC 6962 log, or a Mayfly');
  addLogFlags(command);
  addCriteriaFlags(command);
  addRunFlags(command);
  command.addHelpText('after', help).action(async (url: string, flags: MonitorFlags) => {
    const settings = monitorSettings(url, flags);
    const stop = new AbortController();
    // A second signal ends the process at once, which loses nothing.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
    const wait = (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal });
    done(await runMonitor(settings, { ...processIo(), random: Math.random, wait, signal: stop.signal }));
  });
}

function addLogFlags(command: Command): void {
  command
    .option('--public-key <file>', "the log's public key, PEM")
    .option('--trusted-root <file>', 'a trusted_root.json that holds the key of the log')
    .option('--type <type>', 'auto, static-ct or rfc6962', 'auto')
    .option('--origin <name>', 'the origin its checkpoints must carry; not given: that of the first one')
    .option('--max-age <duration>', 'an older head is stale', '24h')
    .addOption(
      repeatable('--peer <url>', "a head of the log as others see it, to compare: another monitor's /head, …"),
    );
}

function addCriteriaFlags(command: Command): void {
  command
    .addOption(repeatable('--identity <value>', 'subject alternative name'))
    .addOption(repeatable('--identity-glob <glob>', 'identity, by glob'))
    .addOption(repeatable('--identity-regexp <re>', 'identity, by regular expression'))
    .addOption(repeatable('--subject-regexp <re>', 'another name of --identity-regexp'))
    .addOption(repeatable('--issuer <value>', 'OpenID Connect issuer that the certificate names'))
    .addOption(repeatable('--issuer-glob <glob>', 'issuer, by glob'))
    .addOption(repeatable('--issuer-regexp <re>', 'issuer, by regular expression'))
    .addOption(repeatable('--extension <name=value>', 'a Fulcio extension, such as source-repository-uri'))
    .addOption(repeatable('--extension-glob <name=glob>', 'extension, by glob'))
    .addOption(repeatable('--extension-regexp <name=re>', 'extension, by regular expression'))
    .addOption(repeatable('--issuing-ca <file>', 'certificate of the issuing CA, PEM'))
    .option('--ignore-case', 'ASCII letters match either case')
    .option('--all', 'every certificate');
}

function addRunFlags(command: Command): void {
  command
    .option('--state <file>', 'where to remember what the log showed, and what was told')
    .option('--from <entry>', 'where to begin with a log that is not in the state: an entry, or now', 'now')
    .option('--once', 'end when the end of the log is reached')
    .option('--interval <duration>', 'pause between two looks at the log', '1m')
    .option('--json', 'print JSON lines')
    .option('--output <file>', 'append events to a file of JSON lines')
    .option('--webhook <url>', 'POST each event as JSON')
    .option('--webhook-secret-file <file>', 'key of the Mayfly-Signature header (HMAC-SHA-256)')
    .option('--metrics-port <port>', 'serve Prometheus metrics and the last head')
    .option('--metrics-host <host>', 'where to serve them', '127.0.0.1')
    .option('--rate <number>', 'requests a second at most', '20')
    .option('--parallel <number>', 'requests at the same time at most', '4')
    .option('--timeout <duration>', 'bound of one request', '30s');
}

function repeatable(flags: string, description: string): Option {
  return new Option(flags, `${description} (repeatable)`).argParser<readonly string[]>((text, before = []) => [
    ...before,
    text,
  ]);
}
