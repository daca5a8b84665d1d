import fc from 'fast-check';
import { parsePkcs11Config, readPkcs11Config } from '../../src/ca/pkcs11-config.js';
import { AppError } from '../../src/errors.js';

const minimal = { Path: '/usr/lib/softhsm/libsofthsm2.so', TokenLabel: 'fulcio', Pin: '2324' };
const parse = (value: unknown) => parsePkcs11Config(JSON.stringify(value), '--pkcs11-config-path x.conf');

test('the smallest configuration of Fulcio is taken, with the defaults of crypto11', () => {
  expect(parse(minimal)).toEqual({
    modulePath: '/usr/lib/softhsm/libsofthsm2.so',
    token: { by: 'label', value: 'fulcio' },
    pin: '2324',
    userType: 1,
    maxSessions: 1024,
    poolWaitMs: undefined,
  });
});

test('every field of crypto11 is taken, those for encryption without effect', () => {
  const config = parse({
    Path: '/opt/module.so',
    TokenSerial: '00ff',
    Pin: 'user:password',
    MaxSessions: 16,
    UserType: 0x80000001,
    PoolWaitTimeout: 2_500_000_000,
    LoginNotSupported: false,
    UseGCMIVFromHSM: true,
    GCMIVLength: 12,
    GCMIVFromHSMControl: { SupplyIvForHSMGCMEncrypt: true },
  });
  expect(config).toEqual({
    modulePath: '/opt/module.so',
    token: { by: 'serial number', value: '00ff' },
    pin: 'user:password',
    userType: 0x80000001,
    maxSessions: 16,
    poolWaitMs: 2500,
  });
});

test.each([
  ['a slot', { SlotNumber: 0 }, { token: { by: 'slot number', value: '0' } }],
  ['an empty label beside a slot, as Go writes it', { TokenLabel: '', SlotNumber: 7 }, { token: { value: '7' } }],
  ['no slot, as Go writes it', { TokenLabel: 'a', SlotNumber: null }, { token: { by: 'label' } }],
  ['names in any case, as Go reads them', { tokenlabel: 'a', MAXSESSIONS: 5 }, { maxSessions: 5 }],
  ['no login', { TokenLabel: 'a', LoginNotSupported: true }, { pin: undefined }],
  ['a wait below a millisecond', { TokenLabel: 'a', PoolWaitTimeout: 10 }, { poolWaitMs: 1 }],
])('%s is understood', (_, change, expected) => {
  const { TokenLabel: _label, ...rest } = minimal;
  expect(parse({ ...rest, ...change })).toMatchObject(expected);
});

test.each<[string, unknown, string]>([
  ['no module', { ...minimal, Path: undefined }, 'Path is missing; expected the path of the PKCS#11 module'],
  [
    'no token',
    { ...minimal, TokenLabel: '' },
    'names no token; expected one of TokenLabel, TokenSerial and SlotNumber',
  ],
  ['two ways to a token', { ...minimal, SlotNumber: 0 }, 'picks the token by TokenLabel and SlotNumber; expected one'],
  ['no PIN', { ...minimal, Pin: '' }, 'Pin is missing; expected the PIN of the token, or "LoginNotSupported": true'],
  ['a PIN without quotes', { ...minimal, Pin: 2324 }, 'Pin is a number; expected a string'],
  ['one session', { ...minimal, MaxSessions: 1 }, 'MaxSessions is 1; expected 0 for the default or at least 2'],
  ['a negative number', { ...minimal, MaxSessions: -1 }, 'MaxSessions is -1; expected a whole number from 0'],
  ['half a session', { ...minimal, MaxSessions: 2.5 }, 'MaxSessions is 2.5; expected a whole number from 0'],
  ['a session in words', { ...minimal, MaxSessions: '5' }, 'MaxSessions is a string; expected a number'],
  ['the security officer', { ...minimal, UserType: 2 }, 'UserType is 2; expected 1 (user) or 2147483649'],
  [
    'a misspelt field',
    { ...minimal, TokenLable: 'a' },
    'has the unknown field "TokenLable"; did you mean "TokenLabel"?',
  ],
  ['a field in two spellings', { ...minimal, pin: '1' }, 'has the field Pin twice'],
  ['a list', [minimal], 'is a list; expected a JSON object'],
  ['null', null, 'is null; expected a JSON object'],
])('%s is refused by name', (_, value, message) => {
  expect(() => parse(value)).toThrow(`--pkcs11-config-path x.conf: ${message}`);
});

test('what is no JSON is refused without showing it', () => {
  const broken = '{"Pin": "secret-pin", ';
  expect(() => parsePkcs11Config(broken, 'x')).toThrow('x: is not JSON: it has a syntax error');
});

test('a file that is missing is named', () => {
  expect(() => readPkcs11Config('/nowhere/crypto11.conf')).toThrow(
    /^--pkcs11-config-path \/nowhere\/crypto11.conf: cannot be read: ENOENT/,
  );
});

test('whatever is in the file, the answer is a configuration or a start-up error that does not show the PIN', () => {
  const pin = 'the-secret-pin';
  const field = fc.constantFrom(
    'Path',
    'TokenLabel',
    'TokenSerial',
    'SlotNumber',
    'MaxSessions',
    'UserType',
    'pin',
    'x',
  );
  fc.assert(
    fc.property(fc.dictionary(field, fc.oneof(fc.jsonValue(), fc.constant([pin]), fc.constant({ pin }))), (fields) => {
      try {
        expect(parse({ Pin: pin, ...fields })).toHaveProperty('modulePath');
      } catch (error) {
        expect(error).toBeInstanceOf(AppError);
        expect(String(error)).not.toContain(pin);
      }
    }),
  );
});
