/** Tells a queue that stands, because as many come as go, from one that a burst has filled and that is being worked off. */
export interface Crowd {
  /** To be asked with the length of the queue whenever somebody comes to it. */
  stands(length: number): boolean;
}

export interface CrowdOptions {
  /** No queue up to this length is looked at. */
  readonly small: number;
  /** How long a queue is watched before it is judged. */
  readonly windowMs: number;
  readonly now: () => number;
}

/** A queue that is being worked off is shorter than this part of its peak by the end of a window. */
const shrunk = 3 / 4;

export function createCrowd({ small, windowMs, now }: CrowdOptions): Crowd {
  let window: { readonly began: number; peak: number } | undefined;
  return {
    stands(length) {
      if (length <= small) {
        window = undefined;
        return false;
      }
      window ??= { began: now(), peak: length };
      window.peak = Math.max(window.peak, length);
      if (now() - window.began < windowMs) return false;
      const { peak } = window;
      window = undefined;
      return length > shrunk * peak;
    },
  };
}
