import { AppError } from '../errors.js';
import { parseStrictJson } from '../json.js';
import { decodeBase64 } from './base64.js';

/** A JSON object from the wire whose fields have not been looked at yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * The body of a request as proto3 JSON: one object, UTF-8, no second reading of a key. An empty body is the empty
 * message. Throws AppError BODY_MALFORMED saying where.
 */
export function parseJsonBody(bytes: Uint8Array): JsonObject {
  if (bytes.length === 0) return {};
  let value: unknown;
  try {
    value = parseStrictJson(bytes);
  } catch (error) {
    throw new AppError('BODY_MALFORMED', `the body is not JSON: ${error instanceof Error ? error.message : ''}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new AppError('BODY_MALFORMED', `expected a JSON object, found ${describe(value)}`);
  }
  return value as JsonObject;
}

/** Reads fields of one message by their lowerCamelCase name, accepting the proto's snake_case; null counts as absent. */
export function fields(message: JsonObject, path: string) {
  const get = (name: string): unknown => {
    const snake = snakeOf(name);
    const camelValue = Object.hasOwn(message, name) ? message[name] : undefined;
    const snakeValue = snake !== name && Object.hasOwn(message, snake) ? message[snake] : undefined;
    if (camelValue !== undefined && snakeValue !== undefined) {
      throw new AppError('BODY_MALFORMED', `field ${at(name)} is given twice, as ${name} and as ${snake}`);
    }
    return camelValue ?? snakeValue ?? undefined;
  };
  const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
  const wrong = (name: string, expected: string, found: unknown): AppError =>
    new AppError('BODY_MALFORMED', `field ${at(name)} is ${describe(found)}; expected ${expected}`);
  return {
    message(name: string): JsonObject | undefined {
      const value = get(name);
      if (value === undefined) return undefined;
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'an object', value);
      return value as JsonObject;
    },
    text(name: string): string {
      const value = get(name);
      if (value === undefined) return '';
      if (typeof value !== 'string') throw wrong(name, 'a string', value);
      return value;
    },
    /** An enum's name or number; which of them does not matter to us, only that it can be one. */
    enumeration(name: string): void {
      const value = get(name);
      if (value === undefined || typeof value === 'string' || Number.isInteger(value)) return;
      throw wrong(name, 'the name or the number of an enum value', value);
    },
    bytes(name: string): Uint8Array {
      const value = get(name);
      if (value === undefined) return new Uint8Array();
      if (typeof value !== 'string') throw wrong(name, 'base64 in a string', value);
      const bytes = decodeBase64(value);
      if (bytes === undefined) throw wrong(name, 'base64', value);
      return bytes;
    },
  };
}

/** Of the few names that our messages have. */
const snakes = new Map<string, string>();

function snakeOf(name: string): string {
  const known = snakes.get(name);
  if (known !== undefined) return known;
  const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  snakes.set(name, snake);
  return snake;
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return 'a string that is something else';
  if (typeof value === 'object') return 'an object';
  return `the ${typeof value} ${String(value).slice(0, 40)}`;
}
