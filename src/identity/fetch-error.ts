/** Why a fetch failed, in words that may go to a client; details are in `cause`. */
export class FetchError extends Error {
  override readonly name = 'FetchError';
  /** Whether the same fetch may succeed later without anybody changing anything. */
  readonly temporary: boolean;

  constructor(message: string, temporary: boolean, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.temporary = temporary;
  }
}
