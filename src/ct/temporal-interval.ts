/**
 * Logs that take only certificates which end within a certain time ("temporal shards"), as the public web's logs do.
 * Times are in milliseconds since the epoch and mean a certificate's notAfter.
 */
export interface TemporalInterval {
  /** Inclusive; without it, from ever. */
  readonly start?: number;
  /** Exclusive; without it, for ever. */
  readonly end?: number;
}

/** Whether a certificate that ends at `notAfter` falls into `interval`; no interval takes them all. */
export function covers(interval: TemporalInterval | undefined, notAfter: number): boolean {
  const { start = Number.NEGATIVE_INFINITY, end = Number.POSITIVE_INFINITY } = interval ?? {};
  return start <= notAfter && notAfter < end;
}

/**
 * From when on, looking from `from`, fewer than `required` of the logs with these intervals take a certificate: the
 * notAfter at which coverage ends. Undefined when it never does.
 */
export function coverageEnd(
  intervals: readonly (TemporalInterval | undefined)[],
  required: number,
  from: number,
): number | undefined {
  const ends = intervals.flatMap((interval) => interval?.end ?? []).filter((end) => end > from);
  return [from, ...ends.sort((a, b) => a - b)].find(
    (time) => intervals.filter((interval) => covers(interval, time)).length < required,
  );
}
