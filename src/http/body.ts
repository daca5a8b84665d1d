import type { IncomingMessage } from 'node:http';
import { AppError } from '../errors.js';
import type { BodyMeter } from '../limits/body-budget.js';

/** Fulcio's limit for a request body, in bytes. */
export const bodyLimit = 4 * 1024 * 1024;

/**
 * The body of a request, whatever its content type. Throws AppError BODY_TOO_LARGE past `limit` bytes (the rest of the
 * body is then read and dropped, so that the client gets to see the answer), BODY_ENCODING_UNSUPPORTED for a
 * content-encoding, BODY_INCOMPLETE when the client went away, and what `meter` throws, in the same way as past the limit.
 */
export function readBody(
  request: IncomingMessage,
  limit: number = bodyLimit,
  meter?: Pick<BodyMeter, 'add'>,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') {
      request.resume();
      reject(new AppError('BODY_ENCODING_UNSUPPORTED', 'the body has a content-encoding; expected it as it is'));
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      try {
        if (size > limit) throw new AppError('BODY_TOO_LARGE', `the body is larger than ${limit} bytes`);
        meter?.add(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        request.off('data', onData);
        request.resume();
        chunks.length = 0;
        reject(error);
      }
    };
    request.on('data', onData);
    request.once('end', () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    const onGone = (): void => reject(new AppError('BODY_INCOMPLETE', 'the connection ended before the body did'));
    request.once('error', onGone);
    request.once('close', () => {
      if (!request.complete) onGone();
    });
  });
}
