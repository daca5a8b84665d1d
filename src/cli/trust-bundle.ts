import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { readIfExists, replaceFile } from '../ctlog/durable-file.js';
import { AppError, messageOf } from '../errors.js';
import { offlineTrustMaterial } from '../server/offline-trust.js';
import { clientBundle } from '../trust/client-bundle.js';
import { sha256Hex } from '../trust/tuf-targets.js';
import { processIo } from './request-io.js';
import { declareTrustSettings, trustSettings } from './trust-export.js';

const help = `
A tar archive with the trust files, the root of the TUF repository if there is one, and README.md: what to do with it for
cosign, sigstore-python, sigstore-js, gitsign and policy-controller. Two runs over the same instance make the same bytes.
Give the settings as the server has them (flags, FULCIO_SERVE_… variables or the --config file).
`;

/** `mayfly trust bundle`: one file to carry to machines that cannot fetch anything. */
export function registerTrustBundle(trust: Command, done: (code: number) => void): void {
  const command = trust.command('bundle').description('pack everything a client machine needs into one file');
  declareTrustSettings(command);
  command
    .option('--tuf-dir <dir>', 'the TUF repository (default: DATA-DIR/tuf)')
    .option('--out <file>', 'the archive to write', 'mayfly-trust.tar')
    .addHelpText('after', help)
    .action(async () => {
      const io = processIo();
      const { out, tufDir } = command.opts<{ out: string; tufDir?: string }>();
      const config = trustSettings(command);
      const material = await offlineTrustMaterial(config, () => io.now().getTime());
      const tufRoot = await readIfExists(join(tufDir ?? join(config.dataDir, 'tuf'), 'root.json'));
      const bytes = clientBundle({ material, tufRoot });
      await write(out, bytes);
      io.out(`${out}\nsha256 ${sha256Hex(bytes)}\n`);
      done(0);
    });
}

async function write(out: string, bytes: Uint8Array): Promise<void> {
  try {
    await mkdir(dirname(resolve(out)), { recursive: true });
    await replaceFile(out, `${out}.tmp`, bytes, { mode: 0o644, sync: true });
  } catch (cause) {
    throw new AppError('STARTUP', `--out: ${out} cannot be written: ${messageOf(cause)}`, { cause });
  }
}
