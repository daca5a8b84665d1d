import type { IssuerChain } from './candidate.js';
import type { LogStorage } from './storage.js';
import { issuerPath } from './tiles.js';

/**
 * The issuer certificates that entries refer to by fingerprint (static-ct-api, "Issuers"). They are made durable before
 * the first entry that refers to them is staged.
 */
export class Issuers {
  readonly #storage: LogStorage;
  readonly #known = new Map<string, Uint8Array>();
  readonly #storedChains = new WeakSet<IssuerChain>();

  constructor(storage: LogStorage) {
    this.#storage = storage;
  }

  /** Resolves when every certificate of these chains is durable. */
  async store(chains: Iterable<IssuerChain>): Promise<void> {
    for (const chain of new Set(chains)) {
      if (this.#storedChains.has(chain)) continue;
      const paths: string[] = [];
      for (const [i, fingerprint] of chain.fingerprints.entries()) {
        const der = chain.certificates[i];
        const path = issuerPath(fingerprint);
        if (der === undefined || this.#known.has(path)) continue;
        await this.#storage.upload(path, der);
        paths.push(path);
      }
      await this.#storage.flush(paths);
      chain.fingerprints.forEach((fingerprint, i) => {
        const der = chain.certificates[i];
        if (der !== undefined) this.#known.set(issuerPath(fingerprint), der);
      });
      this.#storedChains.add(chain);
    }
  }

  /** DER of an issuer by its SHA-256; throws Error when an entry refers to one the storage does not have. */
  async fetch(fingerprint: Uint8Array): Promise<Uint8Array> {
    const path = issuerPath(fingerprint);
    const known = this.#known.get(path) ?? (await this.#storage.fetch(path));
    if (known === undefined) throw new Error(`${path} is missing from ${this.#storage.name}`);
    this.#known.set(path, known);
    return known;
  }
}
