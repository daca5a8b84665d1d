import fc from 'fast-check';
import {
  type Authorities,
  activeOf,
  addCa,
  adoptCa,
  cancelPromotion,
  endOf,
  findCa,
  forgetKey,
  isPublished,
  type NewCaRecord,
  noAuthorities,
  noteLifetime,
  noteStopped,
  promoteCa,
  promoteWhenDue,
  retireCa,
  schedulePromotion,
} from '../../src/ca/life-cycle.js';
import { parseAuthorities } from '../../src/ca/life-cycle-file.js';

const at = (minute: number): Date => new Date(Date.UTC(2026, 5, 1) + minute * 60_000);
const ca = (name: string): NewCaRecord => ({
  name,
  fingerprint: Buffer.from(name.padEnd(32, '.')).toString('hex'),
  chain: `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----\n`,
  keyDirectory: `keys/ca-${name}`,
});
const withoutKey = (name: string): NewCaRecord => ({ ...ca(name), keyDirectory: undefined });
const states = ({ cas }: Authorities): string => cas.map(({ name, state }) => `${name} ${state}`).join(', ');
const startup = (message: string) =>
  expect.objectContaining({ code: 'STARTUP', detail: expect.stringContaining(message) });
const refused = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

const first = adoptCa(noAuthorities, ca('a'), at(0));
const withNext = addCa(first, ca('b'), at(10));
const promoted = promoteCa(withNext, 'b', at(20));
const retired = retireCa(noteStopped(promoted, ca('a').fingerprint, at(21)), 'a', at(30));

test('a CA goes from next to active, former, retired, and loses its key at the end', () => {
  expect([first, withNext, promoted, retired].map(states)).toEqual([
    'a active',
    'a active, b next',
    'a former, b active',
    'a retired, b active',
  ]);
  const gone = findCa(forgetKey(retired, 'a', at(40)), 'a');
  expect(gone).toMatchObject({ keyDirectory: undefined, keyDeletedAt: at(40), chain: ca('a').chain });
});

test('a retired CA ends one lifetime of its certificates after its last issuance', () => {
  expect(endOf(findCa(retired, 'a'))).toEqual(at(31));
  const longer = noteLifetime(noteLifetime(first, ca('a').fingerprint, 3_600_000), ca('a').fingerprint, 60_000);
  const ended = retireCa(promoteCa(addCa(longer, ca('b'), at(10)), 'b', at(20)), 'a', at(30));
  expect(endOf(findCa(ended, 'a'))).toEqual(at(90));
});

test('a later last issuance moves the end of a retired CA, an earlier one does not', () => {
  const moved = noteStopped(noteStopped(retired, ca('a').fingerprint, at(25)), ca('a').fingerprint, at(24));
  expect(endOf(findCa(moved, 'a'))).toEqual(at(35));
});

test('a former CA can be promoted back, and has no end then', () => {
  const back = promoteCa(promoted, 'a', at(25));
  expect(states(back)).toBe('a active, b former');
  expect(findCa(back, 'a').issuedUntil).toBeUndefined();
});

test('a next CA that is withdrawn before it issued is not published any more', () => {
  expect(isPublished(findCa(withNext, 'b'))).toBe(true);
  expect(isPublished(findCa(retireCa(withNext, 'b', at(15)), 'b'))).toBe(false);
});

test('a retired CA comes back as next', () => {
  const again = addCa(retired, ca('a'), at(50));
  expect(states(again)).toBe('a next, b active');
  expect(endOf(findCa(again, 'a'))).toBeUndefined();
});

test('a promotion at a date is made when it has come, and can be forgotten', () => {
  const due = schedulePromotion(withNext, 'b', at(100));
  expect(promoteWhenDue(due, at(99))).toBe(due);
  expect(states(promoteWhenDue(due, at(100)))).toBe('a former, b active');
  expect(promoteWhenDue(due, at(100)).promotion).toBeUndefined();
  expect(promoteWhenDue(cancelPromotion(due), at(100)).promotion).toBeUndefined();
  expect(retireCa(due, 'b', at(50)).promotion).toBeUndefined();
});

test('a CA from outside that was announced becomes active under its name', () => {
  const announced = addCa(first, { ...withoutKey('b'), name: 'spring' }, at(10));
  expect(states(adoptCa(announced, withoutKey('b'), at(20)))).toBe('a former, spring active');
});

test('a CA whose files replace those of another takes over the key directory', () => {
  const swapped = adoptCa(first, { ...ca('b'), keyDirectory: 'keys/ca-a' }, at(5));
  expect(swapped.cas.map(({ name, keyDirectory }) => [name, keyDirectory])).toEqual([
    ['a', undefined],
    ['b', 'keys/ca-a'],
  ]);
});

test('a CA is found by the start of its fingerprint', () => {
  expect(findCa(withNext, ca('b').fingerprint.slice(0, 8).toUpperCase()).name).toBe('b');
});

test.each<[string, () => unknown, string]>([
  ['promotes a retired CA', () => promoteCa(retired, 'a', at(50)), 'a is retired'],
  [
    'promotes a CA whose key is elsewhere',
    () => promoteCa(addCa(first, withoutKey('b'), at(1)), 'b', at(2)),
    'the key of b is not in this data directory',
  ],
  ['promotes an unknown CA', () => promoteCa(withNext, 'c', at(2)), 'there is no CA "c" here; there are: a, b'],
  ['retires the active CA', () => retireCa(withNext, 'a', at(2)), 'a is active; promote another CA first'],
  ['deletes the key of a former CA', () => forgetKey(promoted, 'a', at(2)), 'a is former; only the key of a retired'],
  ['adds a CA twice', () => addCa(withNext, ca('b'), at(2)), 'this CA is here already: b, next'],
  ['adds another CA of the same name', () => addCa(withNext, { ...ca('c'), name: 'b' }, at(2)), 'another CA named b'],
  ['schedules what is active', () => schedulePromotion(withNext, 'a', at(2)), 'a is active already'],
])('nobody %s', (_what, work, message) => {
  expect(refused(work)).toEqual(startup(message));
});

test('what changes nothing gives the same object, so that nothing is written', () => {
  const { fingerprint } = ca('a');
  const noted = noteLifetime(first, fingerprint, 60_000);
  expect(noteLifetime(noted, fingerprint, 60_000)).toBe(noted);
  expect(adoptCa(noted, ca('a'), at(9))).toBe(noted);
  expect(promoteCa(noted, 'a', at(9))).toBe(noted);
  expect(retireCa(retired, 'a', at(99))).toBe(retired);
});

/** What was issued: which CA, and when its certificate ends. */
interface Certificate {
  readonly fingerprint: string;
  readonly from: Date;
  readonly until: Date;
}

const lifetimeMs = 10 * 60_000;
const names = ['a', 'b', 'c', 'd'];
type Step = readonly [command: string, name: string];
type Command = (all: Authorities, name: string, now: Date) => Authorities;

/** Everything that commands and servers do to the record; the server notes the last issuance, sooner or later. */
const commands: Readonly<Record<string, Command>> = {
  add: (all, name, now) => addCa(all, ca(name), now),
  announce: (all, name, now) => addCa(all, withoutKey(name), now),
  adopt: (all, name, now) => adoptCa(all, withoutKey(name), now),
  replace: (all, name, now) => adoptCa(all, { ...ca(name), keyDirectory: activeOf(all)?.keyDirectory }, now),
  promote: promoteCa,
  schedule: (all, name, now) => schedulePromotion(all, name, new Date(now.getTime() + 3 * 60_000)),
  due: (all, _name, now) => promoteWhenDue(all, now),
  cancel: (all) => cancelPromotion(all),
  retire: retireCa,
  delete: forgetKey,
  stopped: (all, name, now) => noteStopped(all, ca(name).fingerprint, now),
};

const sequences = fc.array(
  fc.tuple(fc.constantFrom(...Object.keys(commands)), fc.constantFrom(...names)) satisfies fc.Arbitrary<Step>,
  { maxLength: 60 },
);

/** Runs the steps a minute apart; a command that is refused changes nothing. The active CA issues before each step. */
function play(steps: readonly Step[], look: (before: Authorities, after: Authorities, issued: Certificate[]) => void) {
  let all = first;
  const issued: Certificate[] = [];
  steps.forEach(([command, name], minute) => {
    const now = at(minute + 1);
    const { fingerprint = '' } = activeOf(all) ?? {};
    issued.push({ fingerprint, from: now, until: new Date(now.getTime() + lifetimeMs) });
    const before = all;
    try {
      all = commands[command]?.(all, name, now) ?? all;
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'AppError') throw error;
    }
    look(before, all, issued);
  });
}

test('there is exactly one active CA after any sequence of commands', () => {
  fc.assert(
    fc.property(sequences, (steps) =>
      play(steps, (_before, { cas }) => {
        expect(cas.filter(({ state }) => state === 'active')).toHaveLength(1);
      }),
    ),
  );
});

test('no CA becomes active by a command that was not published before', () => {
  const byServer = ['adopt', 'replace'];
  fc.assert(
    fc.property(sequences, (steps) =>
      play(
        steps.filter(([command]) => !byServer.includes(command)),
        (before, after) => {
          const active = activeOf(after);
          const earlier = before.cas.find(({ fingerprint }) => fingerprint === active?.fingerprint);
          expect(earlier !== undefined && earlier.state !== 'retired').toBe(true);
        },
      ),
    ),
  );
});

test('every certificate that was ever issued lies within what clients are told of its CA', () => {
  fc.assert(
    fc.property(sequences, (steps) =>
      play(steps, (_before, { cas }, issued) => {
        for (const { fingerprint, until } of issued) {
          const record = cas.find((one) => one.fingerprint === fingerprint);
          expect(record !== undefined && isPublished(record)).toBe(true);
          const end = record === undefined ? undefined : endOf(record);
          expect(end === undefined || end >= until).toBe(true);
        }
      }),
    ),
  );
});

test('no certificate is ever forgotten, and the end of a CA that stays retired never moves back', () => {
  fc.assert(
    fc.property(sequences, (steps) =>
      play(steps, (before, after) => {
        for (const earlier of before.cas) {
          const later = after.cas.find(({ fingerprint }) => fingerprint === earlier.fingerprint);
          expect(later?.chain).toBe(earlier.chain);
          const [was, is] = [endOf(earlier), later === undefined ? undefined : endOf(later)];
          if (was !== undefined && is !== undefined) expect(is.getTime()).toBeGreaterThanOrEqual(was.getTime());
        }
      }),
    ),
  );
});

test('the record survives being written and read', () => {
  fc.assert(
    fc.property(sequences, (steps) =>
      play(steps, (_before, after) => {
        expect(parseAuthorities(JSON.stringify({ version: 1, ...after }), 'x')).toEqual(
          JSON.parse(JSON.stringify(after), (key, value) =>
            /^(at|.*At|activeSince|issuedUntil)$/.test(key) ? new Date(value) : value,
          ),
        );
      }),
    ),
    { numRuns: 30 },
  );
});
