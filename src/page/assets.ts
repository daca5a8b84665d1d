import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file that the page is made of. */
export interface Asset {
  readonly type: string;
  readonly bytes: Buffer;
  /** A strong entity tag. */
  readonly etag: string;
}

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The files beside this module, by name; only these are ever served. */
export function loadAssets(): ReadonlyMap<string, Asset> {
  const directory = fileURLToPath(new URL('./assets', import.meta.url));
  const names = readdirSync(directory).filter((name) => extname(name) in types);
  return new Map(
    names.map((name) => {
      const bytes = readFileSync(join(directory, name));
      const etag = `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`;
      return [name, { type: types[extname(name)] ?? '', bytes, etag }];
    }),
  );
}
