import type { Command } from 'commander';
import { logServeFlags, startLogServer } from '../server/log-start.js';
import { declareServeFlags, flagsGiven } from './flag-options.js';
import { stopSignal } from './serve.js';

const help = `
Runs one transparency log for any number of CA processes. The log key is made at the first start, in DATA-DIR/keys; its
public half is written to DATA-DIR/trust/ctlog.pub.pem. Give each CA both:
  mayfly serve --ct-log-url http://LOG-HOST:8080/ctlog --ct-log-public-key-path ctlog.pub.pem

--roots names the certificates below which the log takes chains: a PEM file with the root of each CA, such as the CA's
DATA-DIR/trust/ca.pem. It is read again when it changes and on SIGHUP; a bad file is refused and the old roots stay.

One process writes a log; a second one on the same directory refuses to start. While the log restarts, CAs answer 503
with Retry-After and go on by themselves afterwards.
`;

/** `mayfly log serve`: runs only the log until SIGTERM or SIGINT, then finishes what is in flight. */
export function registerLogServe(log: Command, done: (code: number) => void): void {
  const command = log
    .command('serve')
    .description('run only the transparency log, for CA processes that submit with --ct-log-url')
    .requiredOption('--roots <file>', 'PEM file with the root certificates whose chains the log takes');
  declareServeFlags(command, logServeFlags);
  command.addHelpText('after', help);
  command.action(async () => {
    const { roots, ...flags } = flagsGiven(command);
    const server = await startLogServer(flags, String(roots), { environment: process.env });
    process.on('SIGHUP', () => server.reload('SIGHUP'));
    await stopSignal();
    await server.close();
    done(0);
  });
}
