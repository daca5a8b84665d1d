import type { Histogram } from 'prom-client';

/** Observations that may wait; so many take some 100 µs to be told. */
const mostWaiting = 256;

type Observer = (value: number) => void;

/** A histogram's observers by their labels, and what tells the histogram of everything they have. */
interface Late {
  readonly observers: Map<string, Observer>;
  readonly tell: (() => void)[];
}

const known = new WeakMap<object, Late>();

/**
 * The observer of `histogram` for one set of labels, which must be few. It tells the histogram of its values later: when that is
 * read, or when many have come. prom-client takes a microsecond for each value between other work, and a fraction of that for
 * many in a row.
 */
export function lateObserver<Label extends string>(
  histogram: Histogram<Label>,
  labels: Partial<Record<Label, string>>,
): Observer {
  const late = known.get(histogram) ?? attach(histogram as Collected);
  const name = JSON.stringify(labels);
  const observer = late.observers.get(name);
  if (observer !== undefined) return observer;
  const child = histogram.labels(labels);
  const values: number[] = [];
  const tell = (): void => {
    for (const value of values) child.observe(value);
    values.length = 0;
  };
  const observe = (value: number): void => {
    values.push(value);
    if (values.length >= mostWaiting) tell();
  };
  late.observers.set(name, observe);
  late.tell.push(tell);
  return observe;
}

/** prom-client calls this before a metric is read; its types know it as an option of the constructor only. */
interface Collected {
  collect?: () => unknown;
}

function attach(histogram: Collected): Late {
  const late: Late = { observers: new Map(), tell: [] };
  known.set(histogram, late);
  const { collect } = histogram;
  histogram.collect = () => {
    for (const tell of late.tell) tell();
    return collect?.call(histogram);
  };
  return late;
}

/** What `make` gives for each name, made once; for names that are few. */
export function bound<T>(make: (name: string) => T): (name: string) => T {
  const made = new Map<string, T>();
  return (name) => {
    const found = made.get(name);
    if (found !== undefined) return found;
    const value = make(name);
    made.set(name, value);
    return value;
  };
}
