import { messageOf } from '../errors.js';
import { afterMs, createCallQueue } from './call-queue.js';
import type { OpenAnswer, OpenRequest } from './pkcs11-messages.js';

type Module = typeof import('pkcs11js');
type Api = import('pkcs11js').PKCS11;
type Handle = import('pkcs11js').Handle;

/** A token that was logged in to, and one key of it. Lives in the process that has loaded the module. */
export interface Token {
  readonly opened: OpenAnswer;
  /** C_Sign with the key, in a session of its own; concurrent calls run on libuv's threads. */
  sign(mechanism: number, input: Uint8Array): Promise<Uint8Array>;
  /** Logs out and lets the module finish. */
  close(): void;
}

/** The token refused the PIN: trying again could lock it. */
export class PinRefusedError extends Error {
  override readonly name = 'PinRefusedError';
}

/** PKCS#11 numbers that pkcs11js has no names for: EdDSA came with version 3.0. */
const ckkEcEdwards = 0x40;
/** Enough for RSA-4096, the longest signature of a CA key. */
const maxSignatureLength = 512;
/** CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_EXPIRED, CKR_PIN_LOCKED. */
const pinErrors = new Set([0xa0, 0xa1, 0xa2, 0xa3, 0xa4]);
const ckrUserAlreadyLoggedIn = 0x100;

/** Loads the module, logs in and finds the key by its label. Calls block until the token has answered. */
export function openToken(pkcs11js: Module, request: OpenRequest): Token {
  const api = loadModule(pkcs11js, request.modulePath);
  const slot = findSlot(api, request.token);
  const openSession = () => doing('open a session', () => api.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION));
  // Kept open: a token forgets the login with its last session.
  const first = openSession();
  logIn(api, first, request);
  const privateKey = findPrivateKey(pkcs11js, api, first, request.keyLabel);
  const opened = describeKey(pkcs11js, api, first, { ...privateKey, label: request.keyLabel });
  const turns = createCallQueue({
    maxRunning: Math.max(1, sessionLimit(api, slot, request) - 1),
    // The server has limits of its own, and gives up long before.
    maxWaiting: Number.POSITIVE_INFINITY,
    maxWaitMs: 60_000,
    after: afterMs,
  });
  const idle: Handle[] = [];
  // pkcs11js hands a thread the address of the data and does not keep it from the garbage collector.
  const underWay = new Set<Buffer>();
  return {
    opened,
    sign: (mechanism, input) =>
      turns.run(async () => {
        const session = idle.pop() ?? openSession();
        api.C_SignInit(session, { mechanism }, privateKey.handle);
        const data = Buffer.from(input);
        underWay.add(data);
        try {
          const signature = await api.C_SignAsync(session, data, Buffer.alloc(maxSignatureLength));
          // Only after success: a session in which a call failed may still be in the middle of it.
          idle.push(session);
          return signature;
        } finally {
          underWay.delete(data);
        }
      }),
    close: () => api.C_Finalize(),
  };
}

function loadModule(pkcs11js: Module, path: string): Api {
  const api = new pkcs11js.PKCS11();
  doing(`load the module ${path}`, () => api.load(path));
  doing('initialize the module', () => api.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK }));
  return api;
}

/** The module's errors are bare names such as CKR_GENERAL_ERROR. */
function doing<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw new Error(`cannot ${what}: ${messageOf(cause)}`, { cause });
  }
}

function sessionLimit(api: Api, slot: Handle, { maxSessions }: OpenRequest): number {
  const { maxSessionCount } = api.C_GetTokenInfo(slot);
  // Zero is CK_EFFECTIVELY_INFINITE, and all ones mean that the token does not tell.
  return maxSessionCount === 0 ? maxSessions : Math.min(maxSessions, maxSessionCount);
}

function findSlot(api: Api, { by, value }: OpenRequest['token']): Handle {
  const found: string[] = [];
  for (const slot of doing('list the slots', () => api.C_GetSlotList(true))) {
    const name = tokenName(api, slot, by);
    if (name === value) return slot;
    if (name !== undefined && name !== '') found.push(`"${name}"`);
  }
  const others = found.length === 0 ? 'the module knows no token' : `the module knows ${found.join(', ')}`;
  throw new Error(`there is no token with the ${by} "${value}"; ${others}`);
}

/** What tells this token from others, or undefined when it cannot be read: that is no reason not to look at the next. */
function tokenName(api: Api, slot: Handle, by: OpenRequest['token']['by']): string | undefined {
  if (by === 'slot number') return String(numberOf(slot));
  try {
    const info = api.C_GetTokenInfo(slot);
    return (by === 'label' ? info.label : info.serialNumber).trimEnd();
  } catch {
    return undefined;
  }
}

function logIn(api: Api, session: Handle, { pin, userType }: OpenRequest): void {
  if (pin === undefined) return;
  try {
    api.C_Login(session, userType, pin);
  } catch (error) {
    const code = codeOf(error);
    if (code === ckrUserAlreadyLoggedIn) return;
    if (code !== undefined && pinErrors.has(code)) {
      throw new PinRefusedError(`the token refuses the PIN (${messageOf(error)})`, { cause: error });
    }
    throw new Error(`cannot log in: ${messageOf(error)}`, { cause: error });
  }
}

function codeOf(error: unknown): number | undefined {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'number'
    ? error.code
    : undefined;
}

function find(api: Api, session: Handle, template: import('pkcs11js').Template): Handle[] {
  api.C_FindObjectsInit(session, template);
  try {
    return api.C_FindObjects(session, 100);
  } finally {
    api.C_FindObjectsFinal(session);
  }
}

function attribute(api: Api, session: Handle, object: Handle, type: number): Buffer {
  const [result] = api.C_GetAttributeValue(session, object, [{ type }]);
  if (!Buffer.isBuffer(result?.value)) throw new Error(`the token does not tell attribute 0x${type.toString(16)}`);
  return result.value;
}

/** A CK_ULONG as the C compiler laid it out: 4 or 8 bytes, little-endian on every machine that Node runs on today. */
function numberOf(value: Buffer): number {
  return value.readUIntLE(0, Math.min(6, value.length));
}

/** Which private keys a token has, for whoever named another one. */
function labelsOf(pkcs11js: Module, api: Api, session: Handle): string {
  const keys = find(api, session, [{ type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY }]);
  const labels = keys.slice(0, 10).map((key) => `"${attribute(api, session, key, pkcs11js.CKA_LABEL).toString()}"`);
  return keys.length === 0
    ? 'it shows none at all'
    : `it has ${labels.join(', ')}${keys.length > labels.length ? ' …' : ''}`;
}

interface PrivateKey {
  readonly handle: Handle;
  readonly id: Buffer;
  readonly type: number;
}

function findPrivateKey(pkcs11js: Module, api: Api, session: Handle, label: string): PrivateKey {
  const found = find(api, session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_LABEL, value: Buffer.from(label) },
  ]);
  const [handle, other] = found;
  if (handle === undefined) {
    const known = labelsOf(pkcs11js, api, session);
    throw new Error(`the token has no private key with this label; ${known}`);
  }
  if (other !== undefined) throw new Error(`the token has ${found.length} private keys with this label; expected one`);
  return {
    handle,
    id: attribute(api, session, handle, pkcs11js.CKA_ID),
    type: numberOf(attribute(api, session, handle, pkcs11js.CKA_KEY_TYPE)),
  };
}

/** The public key object belongs to the private one by CKA_ID (PKCS#11 v2.40 Section 4.4, and crypto11 alike). */
function describeKey(
  pkcs11js: Module,
  api: Api,
  session: Handle,
  key: PrivateKey & { readonly label: string },
): OpenAnswer {
  const candidates = find(api, session, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PUBLIC_KEY },
    { type: pkcs11js.CKA_ID, value: key.id },
  ]);
  const sameLabel = candidates.find(
    (object) => attribute(api, session, object, pkcs11js.CKA_LABEL).toString() === key.label,
  );
  const publicKey = sameLabel ?? candidates[0];
  if (publicKey === undefined) {
    const id = key.id.length === 0 ? 'an empty CKA_ID' : `the CKA_ID ${key.id.toString('hex')}`;
    throw new Error(`the private key has ${id} and the token has no public key object with it`);
  }
  const read = (type: number) => attribute(api, session, publicKey, type);
  return { key: keyAttributes(pkcs11js, key.type, read), certificates: readCertificates(pkcs11js, api, session) };
}

function keyAttributes(pkcs11js: Module, type: number, read: (type: number) => Buffer): OpenAnswer['key'] {
  if (type === pkcs11js.CKK_RSA) {
    return { type: 'rsa', modulus: read(pkcs11js.CKA_MODULUS), publicExponent: read(pkcs11js.CKA_PUBLIC_EXPONENT) };
  }
  if (type === pkcs11js.CKK_EC) {
    return { type: 'ec', params: read(pkcs11js.CKA_EC_PARAMS), point: read(pkcs11js.CKA_EC_POINT) };
  }
  if (type === ckkEcEdwards) return { type: 'eddsa', point: read(pkcs11js.CKA_EC_POINT) };
  throw new Error(`the key has the PKCS#11 key type 0x${type.toString(16)}; expected an EC, RSA or EdDSA key`);
}

function readCertificates(pkcs11js: Module, api: Api, session: Handle): OpenAnswer['certificates'] {
  return find(api, session, [{ type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_CERTIFICATE }]).map((object) => ({
    id: attribute(api, session, object, pkcs11js.CKA_ID),
    der: attribute(api, session, object, pkcs11js.CKA_VALUE),
  }));
}
