import type { Histogram } from 'prom-client';

/** Observations that may wait; so many take some 100 µs to be told. */
const mostWaiting = 256;

/**
 * An observer of `histogram` for one set of labels that tells it of its values later: when it is read, or when many have come.
 * prom-client takes a microsecond for each value between other work, and a fraction of that for many in a row.
 */
export function lateObserver<Label extends string>(
  histogram: Histogram<Label>,
  labels: Partial<Record<Label, string>>,
): (value: number) => void {
  const child = histogram.labels(labels);
  const values: number[] = [];
  const tell = (): void => {
    for (const value of values) child.observe(value);
    values.length = 0;
  };
  const { collect } = histogram as Collected;
  (histogram as Collected).collect = () => {
    collect?.();
    tell();
  };
  return (value) => {
    values.push(value);
    if (values.length >= mostWaiting) tell();
  };
}

/** prom-client calls this before a metric is read; its types know it as an option of the constructor only. */
interface Collected {
  collect?: () => void;
}

/** What `make` gives for each name, made once; for names that are few. */
export function bound<T>(make: (name: string) => T): (name: string) => T {
  const known = new Map<string, T>();
  return (name) => {
    const found = known.get(name);
    if (found !== undefined) return found;
    const made = make(name);
    known.set(name, made);
    return made;
  };
}
