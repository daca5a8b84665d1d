import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Something a test started and must stop. */
interface Closable {
  close(): Promise<void>;
}

/** One test file's directory and the servers it started. */
export interface Lab {
  /** A fresh directory that goes away with the lab. */
  readonly dir: string;
  /** Remembers a server, so that it is stopped with the lab even when a test fails, and gives it back. */
  keep<T extends Closable>(server: T): T;
  /** Stops the servers, last one first, and removes the directory; throws the first failure after trying all. */
  close(): Promise<void>;
}

/** Makes a lab; call its `close` in `afterAll`. */
export async function openLab(): Promise<Lab> {
  const dir = await mkdtemp(join(tmpdir(), 'mayfly-interop-'));
  const servers: Closable[] = [];
  return {
    dir,
    keep(server) {
      servers.push(server);
      return server;
    },
    async close() {
      const failures: unknown[] = [];
      for (const server of servers.reverse()) {
        await server.close().catch((error: unknown) => failures.push(error));
      }
      await rm(dir, { recursive: true, force: true });
      if (failures.length > 0) throw failures[0];
    },
  };
}
