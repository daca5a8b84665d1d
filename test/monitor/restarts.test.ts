import { createHmac } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { MonitorEvent } from '../../src/monitor/events.js';
import { newLogKey, temporaryDirectory } from '../ctlog/fixtures.js';
import { eventsIn, FakeLog, monitor, of } from './lab.js';

let directory: ReturnType<typeof temporaryDirectory>;
let log: FakeLog;
let flags: { publicKey: string; state: string };

beforeEach(async () => {
  directory = temporaryDirectory();
  log = await FakeLog.start();
  flags = { publicKey: join(directory.path, 'log.pem'), state: join(directory.path, 'state.json') };
  writeFileSync(flags.publicKey, String(log.publicKey.export({ type: 'spki', format: 'pem' })));
});
afterEach(async () => {
  await log.close();
  directory.dispose();
});

const many = (count: number) => Array.from({ length: count }, (_, i) => of(`person${i}@example.com`));
const indexes = (events: readonly MonitorEvent[]) => events.map(({ index }) => index);

/** Receives events; `answers` are the statuses of the next posts, then 204. */
class Receiver {
  readonly events: MonitorEvent[] = [];
  readonly headers: Record<string, unknown>[] = [];
  readonly bodies: string[] = [];
  answers: number[] = [];
  url = '';
  readonly #server: Server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const status = this.answers.shift() ?? 204;
    if (status === 204) {
      this.events.push(JSON.parse(body) as MonitorEvent);
      this.headers.push(request.headers);
      this.bodies.push(body);
    }
    response.writeHead(status).end();
  });

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    await new Promise<void>((resolve) => receiver.#server.listen(0, '127.0.0.1', resolve));
    receiver.url = `http://127.0.0.1:${(receiver.#server.address() as AddressInfo).port}/hook`;
    return receiver;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('the webhook', () => {
  let receiver: Receiver;
  beforeEach(async () => {
    receiver = await Receiver.start();
  });
  afterEach(() => receiver.close());

  test('gets every event with its id and a signature', async () => {
    log.append(...many(2));
    const secret = join(directory.path, 'secret');
    writeFileSync(secret, 'a secret of some length\n');
    await monitor(log, { ...flags, webhook: receiver.url, webhookSecretFile: secret });
    expect(indexes(receiver.events)).toEqual([0, 1]);
    receiver.bodies.forEach((body, i) => {
      const [, seconds, mac] =
        /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(receiver.headers[i]?.['mayfly-signature'])) ?? [];
      const key = 'a secret of some length';
      expect(createHmac('sha256', key).update(`${seconds}.${body}`).digest('hex')).toBe(mac);
      expect(receiver.headers[i]?.['mayfly-event-id']).toBe(receiver.events[i]?.id);
    });
  });

  test('that refuses now and then gets everything once', async () => {
    log.append(...many(3));
    receiver.answers = [500, 503, 204, 429, 204, 404];
    expect((await monitor(log, { ...flags, webhook: receiver.url })).code).toBe(0);
    expect(indexes(receiver.events)).toEqual([0, 1, 2]);
  });

  test('that is down delays the matches, and a run later they come, marked as perhaps repeated', async () => {
    log.append(...many(3));
    receiver.answers = [204, ...Array.from({ length: 5 }, () => 500)];
    const down = await monitor(log, { ...flags, webhook: receiver.url });
    expect(down.code).toBe(1);
    expect(down.err).toMatch(/the webhook did not take event [0-9a-f]{32}: HTTP status 500/);
    expect((await monitor(log, { ...flags, webhook: receiver.url })).code).toBe(0);
    expect(receiver.events.map(({ index, repeated = false }) => [index, repeated])).toEqual([
      [0, false],
      [0, true],
      [1, true],
      [2, true],
    ]);
    expect(receiver.events[0]?.id).toBe(receiver.events[1]?.id);
  });

  test('that comes back within one run gets each event once, and so does the terminal', async () => {
    log.append(...many(3));
    receiver.answers = [204, ...Array.from({ length: 5 }, () => 500)];
    const stop = new AbortController();
    let rounds = 0;
    const wait = async (ms: number): Promise<void> => {
      if (ms > 1_000_000 && ++rounds === 3) stop.abort();
      stop.signal.throwIfAborted();
    };
    const more = { once: false, interval: '1h', webhook: receiver.url };
    const { events } = await monitor(log, { ...flags, ...more }, { wait, signal: stop.signal });
    expect([indexes(events), indexes(receiver.events)]).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ]);
  });
});

/** A process that is killed, as far as a test can: nothing that the monitor does after some call has an effect. */
describe('kill -9', () => {
  test('at any moment loses no event, and repeats none without saying so', async () => {
    log.append(...many(30));
    const output = join(directory.path, 'events.jsonl');
    const received: MonitorEvent[] = [];
    for (let at = 0; ; at += 3) {
      let calls = 0;
      class Killed extends Error {}
      const dying: typeof fetch = async (input, init) => {
        if (++calls > 4 + at / 3) throw new Killed();
        return fetch(input, init);
      };
      let said = 0;
      const out = (text: string): void => {
        if (++said > at) throw new Killed();
        received.push(...eventsIn(text));
      };
      const ran = await monitor(log, { ...flags, output }, { out, fetch: dying, random: () => 0 }).catch(
        (error: unknown) => {
          if (!(error instanceof Killed)) throw error;
          return undefined;
        },
      );
      if (ran?.code === 0) break;
    }
    const first = new Set<string>();
    for (const { id, repeated } of received) {
      expect(first.has(id) && repeated !== true).toBe(false);
      first.add(id);
    }
    expect(first.size).toBe(30);
    expect(new Set(eventsIn(readFileSync(output, 'utf8')).map(({ id }) => id))).toEqual(first);
  });

  test('in the middle of a line of the output file leaves whole lines after the next start', async () => {
    log.append(...many(2));
    const output = join(directory.path, 'events.jsonl');
    await monitor(log, { ...flags, output });
    const whole = readFileSync(output);
    rmSync(flags.state);
    truncateSync(output, whole.length - 100);
    const { err } = await monitor(log, { ...flags, output });
    expect(err).toContain('its last line was cut off in the middle and was removed');
    expect(indexes(eventsIn(readFileSync(output, 'utf8')))).toEqual([0, 0, 1]);
  });

  test('between writing and renaming the state leaves the old one', async () => {
    log.append(...many(2));
    await monitor(log, flags);
    writeFileSync(`${flags.state}.tmp`, 'half of a sta');
    log.append(of('next@example.com'));
    expect(indexes((await monitor(log, flags)).events)).toEqual([2]);
    expect(readdirSync(directory.path).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

test('an output file that is something else is not touched', async () => {
  log.append(...many(1));
  const output = join(directory.path, 'precious.txt');
  writeFileSync(output, 'no newline at the end');
  await expect(monitor(log, { ...flags, output })).rejects.toThrow('does not end in a line of events');
  expect(readFileSync(output, 'utf8')).toBe('no newline at the end');
});

describe('a state file', () => {
  test.each<[string, (text: string) => string]>([
    ['that is empty', () => ''],
    ['that is cut off', (text) => text.slice(0, -20)],
    ['with another number in it', (text) => text.replace('"size": 2', '"size": 1')],
    [
      'with another hash in it',
      (text) => text.replace(/"root": "./, (m) => `${m.slice(0, -1)}${m.endsWith('A') ? 'B' : 'A'}`),
    ],
    ['of another format', (text) => text.replace('mayfly-monitor/1', 'mayfly-monitor/9')],
    ['that is an array', () => '[]'],
  ])('%s is said to be damaged, and stays as it is', async (_name, damage) => {
    log.append(...many(2));
    await monitor(log, flags);
    const damaged = damage(readFileSync(flags.state, 'utf8'));
    writeFileSync(flags.state, damaged);
    const ran = await monitor(log, flags);
    expect(ran).toMatchObject({ code: 3, events: [] });
    expect(ran.err).toContain(`the state in ${flags.state} is damaged`);
    expect(readFileSync(flags.state, 'utf8')).toBe(damaged);
  });

  test('has one monitor at a time', async () => {
    log.append(...many(1));
    const stop = new AbortController();
    let second: Promise<unknown> | undefined;
    const wait = async (): Promise<void> => {
      second ??= monitor(log, flags).catch((error: unknown) => error);
      await second;
      stop.abort();
      throw new Error('stopped');
    };
    await monitor(log, { ...flags, once: false }, { wait, signal: stop.signal });
    expect(await second).toMatchObject({ detail: expect.stringContaining('in use by another monitor') });
  });

  test('is of several logs, each under its id', async () => {
    log.append(...many(2));
    const other = (await FakeLog.start(newLogKey())).append(...many(3));
    try {
      const publicKey = join(directory.path, 'other.pem');
      writeFileSync(publicKey, String(other.publicKey.export({ type: 'spki', format: 'pem' })));
      await monitor(log, flags);
      expect(indexes((await monitor(other, { ...flags, publicKey })).events)).toEqual([0, 1, 2]);
      expect((await monitor(log, flags)).events).toEqual([]);
    } finally {
      await other.close();
    }
  });

  test('is not made when the log was never seen', async () => {
    log.lie = () => ({ status: 404 });
    await monitor(log, flags);
    expect(existsSync(flags.state)).toBe(false);
  });
});

test('an output file without its last newline gets it', async () => {
  log.append(...many(1));
  const output = join(directory.path, 'events.jsonl');
  appendFileSync(output, '{"type":"match","id":"0"}');
  await monitor(log, { ...flags, output });
  expect(eventsIn(readFileSync(output, 'utf8'))).toHaveLength(2);
});

test('a state that cannot be written is said, and nothing is delivered that would not be remembered', async () => {
  log.append(...many(2));
  await monitor(log, flags);
  log.append(...many(1));
  mkdirSync(`${flags.state}.tmp`);
  const ran = await monitor(log, flags);
  expect(ran).toMatchObject({ code: 1, events: [] });
  expect(ran.err).toContain(`the state cannot be written to ${flags.state}: EISDIR`);
  rmSync(`${flags.state}.tmp`, { recursive: true });
  expect((await monitor(log, flags)).events).toMatchObject([{ index: 2 }]);
});

test('what lasts is one line in the log of a monitor that runs, and its end is another', async () => {
  log.append(...many(1));
  const stop = new AbortController();
  let rounds = 0;
  const wait = async (ms: number): Promise<void> => {
    if (ms < 1_000_000) return;
    rounds += 1;
    log.lie = () => (rounds < 4 ? { status: 503 } : undefined);
    if (rounds === 5) stop.abort();
    stop.signal.throwIfAborted();
  };
  const peer = [`${log.url}/nothing`];
  const { err } = await monitor(log, { ...flags, once: false, interval: '1h', peer }, { wait, signal: stop.signal });
  expect(err.split('\n').slice(2)).toEqual([
    `mayfly monitor: ${peer[0]}: there is no head`,
    'mayfly monitor: HTTP status 503 at checkpoint, 5 times',
    `mayfly monitor: ${peer[0]}: there is no head`,
    'mayfly monitor: it goes on: the log answers, and what was found is delivered',
    '',
  ]);
});

test('an inconsistency whose telling was cut off is told again and says so', async () => {
  log.append(...many(3));
  await monitor(log, flags);
  const forked = (await FakeLog.start(log.key)).append(...many(2), of('else@example.com'));
  const killed = new Error('killed');
  const out = (): void => {
    throw killed;
  };
  try {
    await expect(monitor(forked, flags, { out })).rejects.toBe(killed);
    expect((await monitor(forked, flags)).events).toMatchObject([{ kind: 'fork', repeated: true }]);
    expect((await monitor(forked, flags)).events).toEqual([]);
  } finally {
    await forked.close();
  }
});
