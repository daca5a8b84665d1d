import { readFileSync } from 'node:fs';

/** A process and those it started, as /proc shows them. */
export interface ProcessFigures {
  /** Seconds of processor time, user and system, since it began. */
  readonly cpuSeconds: number;
  /** Resident memory in bytes, now. */
  readonly rssBytes: number;
  /** Of them, what is no page of a file: the log's index, mapped into memory, grows with the log and gives way to others. */
  readonly anonymousBytes: number;
}

/** Clock ticks per second in /proc/PID/stat (USER_HZ, 100 on every Linux architecture that Node runs on). */
const ticksPerSecond = 100;

/** Processor time and memory of a process and its descendants; throws when it is gone. */
export function processFigures(pid: number): ProcessFigures {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command's name, in parentheses, may hold anything; the fields after it are counted from the third.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytesOf = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  const own = { cpuSeconds, rssBytes: bytesOf('VmRSS'), anonymousBytes: bytesOf('RssAnon') };
  return childrenOf(pid).map(processFigures).reduce(sum, own);
}

function sum(a: ProcessFigures, b: ProcessFigures): ProcessFigures {
  return {
    cpuSeconds: a.cpuSeconds + b.cpuSeconds,
    rssBytes: a.rssBytes + b.rssBytes,
    anonymousBytes: a.anonymousBytes + b.anonymousBytes,
  };
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}
