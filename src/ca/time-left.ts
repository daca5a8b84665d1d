const minuteMs = 60_000;

/** A span of time for people, cut to whole units: "30 days", and what is less than two of them "36 hours" or "45 minutes". */
export function describeTimeLeft(ms: number): string {
  const minutes = Math.floor(ms / minuteMs);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days >= 2) return `${days} days`;
  if (hours >= 2) return `${hours} hours`;
  return `${minutes} ${minutes === 1 ? 'minute' : 'minutes'}`;
}
