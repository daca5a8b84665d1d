import { headPath, readHead } from './head-file.js';
import type { Head } from './line.js';
import type { Problem, VerifiedTrail } from './verify.js';

/** A line that must be in a trail. */
export interface ExpectedHead extends Head {
  /** Undefined: in any of the trails. */
  readonly trail?: string;
  /** The file that says so; undefined: whoever runs the verification. */
  readonly file?: string;
}

interface Wanted {
  readonly expected: ExpectedHead;
  met: boolean;
  /** The line in its place, if it is another one. */
  other?: { readonly file: string; readonly line: number; readonly hash: string };
}

/** Parts the files of trails from the locks and heads that a glob such as `audit.jsonl*` brings along. */
export function partFiles(paths: readonly string[]): {
  readonly trails: readonly string[];
  readonly heads: readonly string[];
} {
  const trails = paths.filter((path) => !/\.(lock|head)$/.test(path));
  const heads = paths.filter((path) => path.endsWith('.head'));
  return { trails, heads: [...new Set([...heads, ...trails.map(headPath)])] };
}

/** Looks among the lines of trails for those that were noted earlier. To be made before the trails are read, which may grow. */
export class HeadCheck {
  readonly #wanted: Wanted[];
  readonly #unreadable: Problem[] = [];

  constructor(expected: readonly ExpectedHead[], headFiles: readonly string[]) {
    this.#wanted = [...expected, ...headFiles.flatMap((file) => this.#read(file))].map((one) => ({
      expected: one,
      met: false,
    }));
  }

  line(trail: string, head: Head, file: string, line: number): void {
    for (const wanted of this.#wanted) {
      const { expected } = wanted;
      if (expected.seq !== head.seq || (expected.trail ?? trail) !== trail) continue;
      if (expected.hash === head.hash) wanted.met = true;
      else wanted.other = { file, line, hash: head.hash };
    }
  }

  /** What is not there. Where a chain is broken, the heads of files are not asked for: their lines were not reached. */
  problems(trails: readonly VerifiedTrail[], paths: readonly string[], broken: boolean): Problem[] {
    const unmet = this.#wanted.filter(({ expected, met }) => !met && !(broken && expected.file !== undefined));
    return [...this.#unreadable, ...unmet.flatMap((wanted) => problemOf(wanted, trails, paths))];
  }

  #read(file: string): ExpectedHead[] {
    try {
      const head = readHead(file);
      return head === undefined ? [] : [{ ...head, file }];
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#unreadable.push({ file, problem: error.message });
      return [];
    }
  }
}

function problemOf({ expected, other }: Wanted, trails: readonly VerifiedTrail[], paths: readonly string[]): Problem[] {
  const { seq, hash, trail, file } = expected;
  const source = file === undefined ? 'noted earlier' : `noted in ${file}`;
  if (other !== undefined) {
    const problem = `its SHA-256 is ${other.hash}; expected ${hash}, which was ${source}`;
    return [{ file: other.file, line: other.line, problem }];
  }
  const own = trails.filter((one) => trail === undefined || one.trail === trail);
  // A newer file was begun meanwhile, and the one with that line was not given.
  if (file !== undefined && own.some(({ first }) => seq < first)) return [];
  const found = own.map(({ first, head }) => `lines ${first} to ${head.seq}`).join(' and ') || 'no line';
  const why = file === undefined ? '' : ', so its end was cut off, or these are copies that were made while it grew';
  return [
    {
      file: paths.join(', ') || (file ?? ''),
      problem: `line ${seq}, ${source}, is missing: found ${found} of the trail${why}`,
    },
  ];
}
