import type { OpenRequest } from '../../src/ca/pkcs11-messages.js';
import { openToken, PinRefusedError } from '../../src/ca/pkcs11-token.js';
import { ck, classes, type FakeModule, FakePkcs11Error, fakePkcs11js, ulong } from './pkcs11-module-fake.js';

const id = Buffer.from('01', 'hex');
const label = Buffer.from('PKCS11CA');
const privateKey = { [ck.class]: classes.privateKey, [ck.label]: label, [ck.id]: id, [ck.keyType]: ulong(3) };
const publicKey = {
  [ck.class]: classes.publicKey,
  [ck.label]: label,
  [ck.id]: id,
  [ck.ecParams]: Buffer.from('curve'),
  [ck.ecPoint]: Buffer.from('point'),
};
const certificate = { [ck.class]: classes.certificate, [ck.id]: Buffer.from('99'), [ck.value]: Buffer.from('der') };

const working: FakeModule = {
  tokens: [
    { label: 'unreadable', serialNumber: '' },
    { label: 'other', serialNumber: '00aa' },
    { label: 'fulcio', serialNumber: '00bb' },
  ],
  pin: '2324',
  objects: [privateKey, publicKey, certificate],
  maxSessionCount: 0,
  sign: async (_session, data) => data,
  broken: {},
};

const request: OpenRequest = {
  modulePath: '/module.so',
  token: { by: 'label', value: 'fulcio' },
  pin: '2324',
  userType: 1,
  maxSessions: 1024,
  poolWaitMs: undefined,
  keyLabel: 'PKCS11CA',
};

function open(module: Partial<FakeModule> = {}, change: Partial<OpenRequest> = {}) {
  const { pkcs11js, calls } = fakePkcs11js({ ...working, ...module });
  return { token: openToken(pkcs11js, { ...request, ...change }), calls };
}

test('a token is opened with its key and its certificates', () => {
  const { token, calls } = open();
  expect(token.opened).toEqual({
    key: { type: 'ec', params: Buffer.from('curve'), point: Buffer.from('point') },
    certificates: [{ id: Buffer.from('99'), der: Buffer.from('der') }],
  });
  expect(calls).toEqual(['load', 'C_Initialize', 'C_GetSlotList', 'C_OpenSession', 'C_Login']);
  token.close();
  expect(calls.at(-1)).toBe('C_Finalize');
});

test.each([
  ['label', 'fulcio'],
  ['serial number', '00bb'],
  ['slot number', '2'],
] as const)('the token is found by its %s, past one that cannot be read', (by, value) => {
  expect(() => open({}, { token: { by, value } })).not.toThrow();
});

test.each<[string, Partial<FakeModule>, Partial<OpenRequest>, string]>([
  [
    'a token that is not there',
    {},
    { token: { by: 'label', value: 'fulcoi' } },
    'there is no token with the label "fulcoi"; the module knows "other", "fulcio"',
  ],
  ['a module without tokens', { tokens: [] }, {}, 'the module knows no token'],
  [
    'a key that is not there',
    { objects: [publicKey] },
    {},
    'the token has no private key with this label; it shows none at all',
  ],
  [
    'a key that is called otherwise',
    { objects: [{ ...privateKey, [ck.label]: Buffer.from('other key') }, publicKey] },
    {},
    'the token has no private key with this label; it has "other key"',
  ],
  [
    'two keys with the label',
    { objects: [privateKey, privateKey, publicKey] },
    {},
    'the token has 2 private keys with this label; expected one',
  ],
  [
    'a key without its public half',
    { objects: [privateKey] },
    {},
    'the private key has the CKA_ID 01 and the token has no public key object with it',
  ],
  [
    'a key that cannot sign certificates',
    { objects: [{ ...privateKey, [ck.keyType]: ulong(1) }, publicKey] },
    {},
    'the key has the PKCS#11 key type 0x1; expected an EC, RSA or EdDSA key',
  ],
  [
    'a module that cannot be loaded',
    { broken: { load: new Error('cannot open shared object file') } },
    {},
    'cannot load the module /module.so: cannot open shared object file',
  ],
  [
    'a module that cannot reach its device',
    { broken: { C_Initialize: new FakePkcs11Error('CKR_GENERAL_ERROR', 5) } },
    {},
    'cannot initialize the module: CKR_GENERAL_ERROR',
  ],
  [
    'a token without a session left',
    { broken: { C_OpenSession: new FakePkcs11Error('CKR_SESSION_COUNT', 0xb1) } },
    {},
    'cannot open a session: CKR_SESSION_COUNT',
  ],
  [
    'a login that fails for another reason than the PIN',
    { broken: { C_Login: new FakePkcs11Error('CKR_DEVICE_ERROR', 0x30) } },
    {},
    'cannot log in: CKR_DEVICE_ERROR',
  ],
])('%s is named', (_, module, change, message) => {
  expect(() => open(module, change)).toThrow(message);
});

test.each(['CKR_PIN_INCORRECT', 'CKR_PIN_LOCKED'])('%s is told apart, and the PIN is not shown', (name) => {
  const code = name === 'CKR_PIN_LOCKED' ? 0xa4 : 0xa0;
  const failing = () => open({ broken: { C_Login: new FakePkcs11Error(name, code) } });
  expect(failing).toThrow(PinRefusedError);
  expect(failing).toThrow(`the token refuses the PIN (${name})`);
});

test('a login that another part of the process has made will do', () => {
  const broken = { C_Login: new FakePkcs11Error('CKR_USER_ALREADY_LOGGED_IN', 0x100) };
  expect(() => open({ broken })).not.toThrow();
});

test('a token without login is not logged in to', () => {
  expect(open({}, { pin: undefined }).calls).not.toContain('C_Login');
});

test('an RSA and an Ed25519 key are described by what they have', () => {
  const rsa = { ...publicKey, [ck.modulus]: Buffer.from('n'), [ck.publicExponent]: Buffer.from('e') };
  const rsaToken = open({ objects: [{ ...privateKey, [ck.keyType]: ulong(0) }, rsa] }).token;
  expect(rsaToken.opened.key).toEqual({ type: 'rsa', modulus: Buffer.from('n'), publicExponent: Buffer.from('e') });
  const edToken = open({ objects: [{ ...privateKey, [ck.keyType]: ulong(0x40) }, publicKey] }).token;
  expect(edToken.opened.key).toEqual({ type: 'eddsa', point: Buffer.from('point') });
});

test('of several public keys with the id the one with the label is taken', () => {
  const other = { ...publicKey, [ck.label]: Buffer.from('other'), [ck.ecPoint]: Buffer.from('wrong') };
  expect(open({ objects: [privateKey, other, publicKey] }).token.opened.key).toMatchObject({
    point: Buffer.from('point'),
  });
});

describe('signatures', () => {
  /** A module whose signatures wait until the test lets them go. */
  function slow() {
    const waiting: (() => void)[] = [];
    const sessions: number[] = [];
    const sign: FakeModule['sign'] = async (session, data) => {
      sessions.push(session);
      await new Promise<void>((resolve) => waiting.push(resolve));
      return data;
    };
    return { sign, waiting, sessions };
  }
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  test('take a session each while they run, and an idle one when there is one', async () => {
    const { sign, waiting, sessions } = slow();
    const { token } = open({ sign });
    const first = [token.sign(1, Buffer.from('a')), token.sign(1, Buffer.from('b'))];
    await turn();
    for (const go of waiting) go();
    expect(await Promise.all(first)).toEqual([Buffer.from('a'), Buffer.from('b')]);
    const third = token.sign(1, Buffer.from('c'));
    await turn();
    waiting.at(-1)?.();
    await third;
    expect(sessions).toEqual([2, 3, 3]);
  });

  test.each([
    ['the token', { maxSessionCount: 3 }, {}],
    ['the configuration', {}, { maxSessions: 3 }],
  ])(
    'are no more at once than the sessions that %s allows, less the one that keeps the login',
    async (_, module, change) => {
      const { sign, waiting, sessions } = slow();
      const { token } = open({ sign, ...module }, change);
      const all = [1, 2, 3].map((n) => token.sign(1, Buffer.of(n)));
      await turn();
      expect(sessions).toHaveLength(2);
      waiting[0]?.();
      await turn();
      expect(sessions).toHaveLength(3);
      for (const go of waiting) go();
      expect(await Promise.all(all)).toEqual([Buffer.of(1), Buffer.of(2), Buffer.of(3)]);
    },
  );

  test('leave a session in which one failed alone', async () => {
    const sessions: number[] = [];
    const sign: FakeModule['sign'] = async (session, data) => {
      sessions.push(session);
      if (sessions.length === 1) throw new FakePkcs11Error('CKR_DEVICE_ERROR', 0x30);
      return data;
    };
    const { token } = open({ sign });
    await expect(token.sign(1, Buffer.of(1))).rejects.toThrow('CKR_DEVICE_ERROR');
    await token.sign(1, Buffer.of(2));
    expect(sessions).toEqual([2, 3]);
  });
});
