import { join } from 'node:path';
import type { CeremonyResult } from '../trust/tuf-ceremony.js';
import { onlineRoles, type StoredKey, type TufRole } from '../trust/tuf-keys.js';
import type { Published } from '../trust/tuf-publish.js';
import type { CommandIo } from './request-io.js';

type Out = Pick<CommandIo, 'out'>;

/** What a new repository consists of, and what to do with it. */
export function printInit(io: Out, { dir }: { readonly dir: string }, keys: readonly StoredKey[]): void {
  const isOnline = ({ path }: StoredKey): boolean => onlineRoles.some((role) => path.includes(`${role}.`));
  const list = (some: readonly StoredKey[]): string => some.map(({ path }) => `  ${path}\n`).join('');
  io.out(
    `TUF repository  ${dir}\n` +
      `keys that sign by themselves, for the server:\n${list(keys.filter(isOnline))}` +
      `keys to take away from here, and to back up:\n${list(keys.filter((key) => !isOnline(key)))}` +
      `The server serves it at /tuf. Hand ${join(dir, '1.root.json')} to clients by a way you trust:\n  cosign initialize --mirror PUBLIC-URL/tuf --root 1.root.json\n`,
  );
}

/** What was signed and published. */
export function printResult(io: Out, { signed, published, waits }: CeremonyResult): void {
  if (signed.length === 0 && published.length === 0 && !waits) {
    io.out(
      'nothing to do: the signed targets are these, and more than half of their life is left (--force signs anyway)\n',
    );
    return;
  }
  if (signed.length > 0) io.out(`signed     ${signed.join(', ')}\n`);
  if (published.length > 0) io.out(`published  ${published.join(', ')}\n`);
  if (waits) {
    io.out(
      'Clients do not see this yet: the keys of snapshot and timestamp are not here. Copy the repository to where they are, ' +
        'without timestamp.json (a newer one may be there, and clients refuse an older one); the server there publishes it ' +
        'within ten minutes, "mayfly trust tuf refresh" at once.\n',
    );
  }
}

/** What a rotation changed; the keys that went out of use may be destroyed. */
export function printRotation(
  io: Out,
  role: TufRole,
  result: CeremonyResult & { readonly made: readonly StoredKey[]; readonly dropped: readonly string[] },
): void {
  for (const { path } of result.made) io.out(`new key    ${path}\n`);
  printResult(io, result);
  const old = result.dropped.map((id) => `${role}.${id.slice(0, 16)}.pem`).join(', ');
  io.out(`No longer of use ${result.waits ? 'once that is published' : 'from now on'}: ${old}\n`);
}

/** What a refresh wrote. */
export function printPublished(io: Out, published: Published): void {
  io.out(published.length === 0 ? 'nothing to do\n' : `published  ${published.join(', ')}\n`);
}
