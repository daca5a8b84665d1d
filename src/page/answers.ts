import type { Request, Response } from 'express';
import { AppError } from '../errors.js';

/** What an answer is made of. */
export interface Body {
  readonly type: string;
  readonly text: string;
}

export interface Answering {
  /** Changes whenever the answer may: with the path and query it is the entity tag. */
  readonly version: string;
  readonly make: () => Promise<Body> | Body;
}

const kept = 100;
const maxKey = 2000;
const maxAtOnce = 2;
const maxWaiting = 32;

/**
 * Answers with an entity tag, from memory where the same was asked before. Readers share a process with issuance, so two
 * answers are made at a time, 32 requests may wait, and the rest get OVERLOADED.
 */
export function createAnswers(): (request: Request, response: Response, answering: Answering) => Promise<void> {
  const bodies = new Map<string, Body>();
  const waiting: (() => void)[] = [];
  let atWork = 0;

  async function inTurn(make: () => Promise<Body> | Body): Promise<Body> {
    if (atWork >= maxAtOnce) {
      if (waiting.length >= maxWaiting) {
        throw new AppError('OVERLOADED', 'too many readers of the page at once', { retryAfterSeconds: 1 });
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else atWork += 1;
    try {
      return await make();
    } finally {
      const next = waiting.shift();
      if (next === undefined) atWork -= 1;
      else next();
    }
  }

  return async (request, response, { version, make }) => {
    const tag = `W/"${version}"`;
    response.setHeader('Cache-Control', 'no-cache');
    response.setHeader('ETag', tag);
    if (request.get('if-none-match') === tag) {
      response.status(304).end();
      return;
    }
    const key = `${request.originalUrl} ${version}`;
    const body = bodies.get(key) ?? (await inTurn(make));
    bodies.delete(key);
    if (key.length <= maxKey) bodies.set(key, body);
    const [oldest] = bodies.keys();
    if (bodies.size > kept && oldest !== undefined) bodies.delete(oldest);
    response.setHeader('Content-Type', body.type);
    response.end(body.text);
  };
}
