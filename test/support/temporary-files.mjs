import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * jest's global setup: every temporary file of a run lies in one directory, which goes when the run ends. A short name, because sockets lie in it too; open to others, because PostgreSQL runs as a user of its own.
 */
export default function setUp() {
  const directory = mkdtempSync(join(tmpdir(), 'mf-'));
  chmodSync(directory, 0o755);
  process.env.TMPDIR = directory;
  globalThis.removeTemporaryFiles = () => rmSync(directory, { recursive: true, force: true });
}
