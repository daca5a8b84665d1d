import { readFile, stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { readCsr } from '../ca/csr.js';
import { AppError, messageOf } from '../errors.js';
import { decodePemAll, pemLabel } from '../x509/pem.js';
import { certificateLines, describeCertificate } from './ca-describe.js';
import { findChains } from './ca-places.js';
import { describeRequest, requestLines } from './ca-request.js';
import { offlineOptions } from './log-options.js';
import { type CommandIo, processIo } from './request-io.js';

const help = `
PLACE is a PEM chain, a certification request, a data directory or the offline/ directory of a ceremony; without it, the data
directory of serve (FULCIO_SERVE_DATA_DIR, or ./data). Private keys are not read. SHA-256 of a certificate is over its DER,
as "openssl x509 -fingerprint -sha256" has it; SHA-256 of a key over its DER SubjectPublicKeyInfo.
`;

/** `mayfly ca show`: what certificates and requests say. */
export function registerCaShow(ca: Command, done: (code: number) => void): void {
  const command = ca.command('show').description('show every certificate of a chain or data directory, or a request');
  command
    .argument('[place]', 'file or directory')
    .option('--json', 'as JSON')
    .addHelpText('after', help)
    .action(async (place: string | undefined, options: { readonly json?: boolean }) => {
      await showCommand(place ?? offlineOptions(command, ['data-dir'], process.env).dataDir, options, processIo());
      done(0);
    });
}

/** Prints what is in a file or directory. Throws AppError STARTUP when nothing is, or when it cannot be read. */
export async function showCommand(
  place: string,
  { json }: { readonly json?: boolean },
  io: Pick<CommandIo, 'out'>,
): Promise<void> {
  const request = await requestIn(place);
  if (request !== undefined) {
    const read = readCsr(request);
    io.out(json === true ? toJson({ request: describeRequest(read) }) : `${requestLines(read).join('\n')}\n`);
    return;
  }
  const chains = (await findChains(place)).map(({ title, path, pem }) => ({
    title,
    path,
    certificates: describe(path, pem),
  }));
  if (json === true) {
    io.out(toJson({ chains }));
    return;
  }
  const blocks = chains.flatMap(({ title, path, certificates }) => [
    `${title}  (${path})`,
    ...certificates.map((one, i) =>
      [`  certificate ${i + 1} of ${certificates.length}`, ...certificateLines(one).map((line) => `    ${line}`)].join(
        '\n',
      ),
    ),
  ]);
  io.out(`${blocks.join('\n\n')}\n`);
}

async function requestIn(place: string): Promise<string | undefined> {
  const isFile = await stat(place).then(
    (found) => !found.isDirectory(),
    () => false,
  );
  if (!isFile) return undefined;
  const text = await readFile(place, 'utf8');
  return pemLabel(text)?.endsWith('CERTIFICATE REQUEST') === true ? text : undefined;
}

function describe(path: string, pem: string) {
  try {
    return decodePemAll(pem, 'CERTIFICATE').map(describeCertificate);
  } catch (cause) {
    throw new AppError('STARTUP', `${path}: a certificate cannot be read: ${messageOf(cause)}`, { cause });
  }
}

function toJson(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
