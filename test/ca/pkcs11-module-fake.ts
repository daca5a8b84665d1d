type Module = typeof import('pkcs11js');

/** An object in a fake token: its attributes by number. */
export type FakeObject = Readonly<Record<number, Buffer>>;

export interface FakeModule {
  /** Tokens by slot. */
  readonly tokens: readonly { readonly label: string; readonly serialNumber: string }[];
  readonly pin: string;
  readonly objects: readonly FakeObject[];
  readonly maxSessionCount: number;
  /** What C_Sign answers. */
  readonly sign: (session: number, data: Buffer) => Promise<Buffer>;
  /** Throws instead of doing anything. */
  readonly broken: Readonly<Record<string, Error>>;
}

export const ck = {
  class: 0,
  label: 3,
  value: 0x11,
  keyType: 0x100,
  id: 0x102,
  modulus: 0x120,
  publicExponent: 0x122,
  ecParams: 0x180,
  ecPoint: 0x181,
} as const;

export const ulong = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value);
  return bytes;
};

export const classes = { certificate: ulong(1), publicKey: ulong(2), privateKey: ulong(3) };

export class FakePkcs11Error extends Error {
  readonly code: number;
  constructor(name: string, code: number) {
    super(name);
    this.code = code;
  }
}

interface Attribute {
  readonly type: number;
  readonly value?: Buffer | number;
}

/** A pkcs11js whose tokens are in memory, as far as a CA calls it; `calls` is what was called, in order. */
export function fakePkcs11js(module: FakeModule): { readonly pkcs11js: Module; readonly calls: string[] } {
  const calls: string[] = [];
  let sessions = 0;
  let found: Buffer[] = [];
  const call = (name: string): void => {
    calls.push(name);
    const error = module.broken[name];
    if (error !== undefined) throw error;
  };
  class PKCS11 {
    load() {
      call('load');
    }
    C_Initialize() {
      call('C_Initialize');
    }
    C_Finalize() {
      call('C_Finalize');
    }
    C_GetSlotList() {
      call('C_GetSlotList');
      return module.tokens.map((_, slot) => ulong(slot));
    }
    C_GetTokenInfo(slot: Buffer) {
      const token = module.tokens[slot.readUInt32LE()];
      if (token === undefined || token.label === 'unreadable')
        throw new FakePkcs11Error('CKR_TOKEN_NOT_RECOGNIZED', 0xe1);
      return { ...token, label: token.label.padEnd(32), maxSessionCount: module.maxSessionCount };
    }
    C_OpenSession() {
      call('C_OpenSession');
      return ulong(++sessions);
    }
    C_Login(_session: Buffer, _user: number, pin: string) {
      call('C_Login');
      if (pin !== module.pin) throw new FakePkcs11Error('CKR_PIN_INCORRECT', 0xa0);
    }
    C_FindObjectsInit(_session: Buffer, template: readonly Attribute[]) {
      const wanted = template.map(
        ({ type, value }) => [type, typeof value === 'number' ? ulong(value) : value] as const,
      );
      found = module.objects.flatMap((object, index) =>
        wanted.every(([type, value]) => value !== undefined && object[type]?.equals(value)) ? [ulong(index)] : [],
      );
    }
    C_FindObjects() {
      return found;
    }
    C_FindObjectsFinal() {}
    C_GetAttributeValue(_session: Buffer, object: Buffer, [attribute]: readonly Attribute[]) {
      const type = attribute?.type ?? -1;
      return [{ type, value: module.objects[object.readUInt32LE()]?.[type] }];
    }
    C_SignInit() {
      call('C_SignInit');
    }
    C_SignAsync(session: Buffer, data: Buffer) {
      return module.sign(session.readUInt32LE(), data);
    }
  }
  const constants = {
    CKF_SERIAL_SESSION: 4,
    CKF_OS_LOCKING_OK: 2,
    CKO_CERTIFICATE: 1,
    CKO_PUBLIC_KEY: 2,
    CKO_PRIVATE_KEY: 3,
    CKK_RSA: 0,
    CKK_EC: 3,
    CKA_CLASS: ck.class,
    CKA_LABEL: ck.label,
    CKA_VALUE: ck.value,
    CKA_KEY_TYPE: ck.keyType,
    CKA_ID: ck.id,
    CKA_MODULUS: ck.modulus,
    CKA_PUBLIC_EXPONENT: ck.publicExponent,
    CKA_EC_PARAMS: ck.ecParams,
    CKA_EC_POINT: ck.ecPoint,
  };
  // The fake has only what openToken calls.
  return { pkcs11js: { ...constants, PKCS11 } as unknown as Module, calls };
}
