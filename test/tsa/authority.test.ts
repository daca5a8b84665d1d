import { createHash, generateKeyPairSync, type KeyObject, randomBytes, verify, X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import { createKeySigner } from '../../src/ca/file-signer.js';
import { AppError } from '../../src/errors.js';
import { createAuthority } from '../../src/tsa/authority.js';
import { parseQuery } from '../../src/tsa/query.js';
import { now, openTestTsa, policy, query, readReply, type TestTsa, testClock } from './lab.js';

async function ask({ authority }: TestTsa, parts: Parameters<typeof query>[0] = {}) {
  return readReply(await authority.timestamp(parseQuery(query(parts))));
}

type Reply = Awaited<ReturnType<typeof ask>>;

const signerOf = ({ signedData }: Reply): pkijs.SignerInfo => {
  const [info] = signedData?.signerInfos ?? [];
  if (info === undefined) throw new Error('there is no signer');
  return info;
};
const attributes = (reply: Reply): ReadonlyMap<string, asn1js.BaseBlock> =>
  new Map((signerOf(reply).signedAttrs?.attributes ?? []).map(({ type, values }) => [type, values[0]]));
const certificates = ({ signedData }: Reply): Buffer[] =>
  (signedData?.certificates ?? []).map((one) => Buffer.from(one.toSchema().toBER()));

/** Whether the signature over the signed attributes, as a SET OF, is the key's (RFC 5652 Section 5.4). */
function isSigned(reply: Reply, publicKey: KeyObject, digest: string): boolean {
  const { signedAttrs, signature } = signerOf(reply);
  const set = Buffer.from(signedAttrs?.toSchema().toBER() ?? new ArrayBuffer());
  set[0] = 0x31;
  return verify(digest, set, publicKey, signature.valueBlock.valueHexView);
}

describe('a token', () => {
  test('says what was asked, when, under which policy and by whom', async () => {
    const tsa = await openTestTsa();
    const reply = await ask(tsa, { nonce: Uint8Array.of(0, 0xff, 1), policy });
    expect(reply).toMatchObject({ status: 0, failureBit: undefined });
    expect(reply.info).toMatchObject({ version: 1, policy, genTime: new Date('2026-03-01T12:00:00Z') });
    expect(reply.info?.accuracy).toMatchObject({ seconds: 1 });
    expect(reply.info?.ordering).toBeUndefined();
    expect(Buffer.from(reply.info?.nonce?.valueBlock.valueHexView ?? []).toString('hex')).toBe('00ff01');
    const imprint = reply.info?.messageImprint;
    expect(Buffer.from(imprint?.hashedMessage.valueBlock.valueHexView ?? [])).toEqual(Buffer.alloc(32, 7));
    const own = pkijs.Certificate.fromBER(tsa.chain[0] ?? new Uint8Array());
    expect(reply.info?.tsa).toMatchObject({ type: 4 });
    expect(own.subject.isEqual(reply.info?.tsa?.value)).toBe(true);
  });

  test('is signed over its attributes, which name content, certificate and time', async () => {
    const tsa = await openTestTsa();
    const reply = await ask(tsa);
    expect(isSigned(reply, new X509Certificate(tsa.chain[0] ?? '').publicKey, 'sha256')).toBe(true);
    const found = attributes(reply);
    expect([...found.keys()].sort()).toEqual([
      '1.2.840.113549.1.9.16.2.47',
      '1.2.840.113549.1.9.3',
      '1.2.840.113549.1.9.4',
      '1.2.840.113549.1.9.5',
    ]);
    const digest = createHash('sha256')
      .update(reply.content ?? '')
      .digest();
    expect(found.get('1.2.840.113549.1.9.4')?.toBER()).toEqual(new asn1js.OctetString({ valueHex: digest }).toBER());
    const certHash = createHash('sha256')
      .update(tsa.chain[0] ?? '')
      .digest('hex');
    const signingCertificate = found.get('1.2.840.113549.1.9.16.2.47')?.toBER() ?? new ArrayBuffer();
    expect(Buffer.from(signingCertificate).toString('hex')).toBe(`3026302430220420${certHash}`);
  });

  test('has its signed attributes in DER order and its content in one piece', async () => {
    const reply = await ask(await openTestTsa());
    const encoded = (signerOf(reply).signedAttrs?.attributes ?? []).map((one) => Buffer.from(one.toSchema().toBER()));
    expect([...encoded].sort(Buffer.compare)).toEqual(encoded);
    expect(reply.signedData?.encapContentInfo.eContent?.idBlock.isConstructed).toBe(false);
  });

  test('holds the certificate when asked for it, and never the root', async () => {
    const tsa = await openTestTsa();
    expect(certificates(await ask(tsa))).toEqual([]);
    expect(certificates(await ask(tsa, { certReq: true }))).toEqual([Buffer.from(tsa.chain[0] ?? [])]);
  });

  test('repeats the algorithm of the imprint with or without NULL, as it was asked', async () => {
    const tsa = await openTestTsa();
    const algorithm = async (parameters: asn1js.BaseBlock | undefined) =>
      (await ask(tsa, { parameters })).info?.messageImprint.hashAlgorithm.algorithmParams;
    expect(await algorithm(undefined)).toBeUndefined();
    expect(await algorithm(new asn1js.Null())).toBeInstanceOf(asn1js.Null);
  });

  test('has a serial number of 160 random bits', async () => {
    const tsa = await openTestTsa();
    const serials = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const octets = Buffer.from((await ask(tsa)).info?.serialNumber.valueBlock.valueHexView ?? []);
      expect(octets.length).toBeGreaterThan(16);
      expect(octets.length).toBeLessThanOrEqual(20);
      expect(octets[0]).toBeLessThan(0x80);
      serials.add(octets.toString('hex'));
    }
    expect(serials.size).toBe(50);
  });

  test.each([
    ['P-256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'sha256'],
    ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha384'],
    ['P-521', () => generateKeyPairSync('ec', { namedCurve: 'P-521' }), 'sha512'],
    ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2048 }), 'sha256'],
  ])('is signed by a %s key with the digest that goes with it', async (_kind, make, digest) => {
    const tsa = await openTestTsa();
    const { privateKey, publicKey } = make();
    const authority = createAuthority({ ...options(tsa), signer: createKeySigner(privateKey) });
    const reply = readReply(await authority.timestamp(parseQuery(query())));
    expect(isSigned(reply, publicKey, digest)).toBe(true);
    const { digestAlgorithm } = signerOf(reply);
    expect(digestAlgorithm.algorithmId).toBe(`2.16.840.1.101.3.4.2.${{ sha256: 1, sha384: 2, sha512: 3 }[digest]}`);
  });
});

function options({ authority, signer }: TestTsa) {
  const clock = testClock();
  const wallClock = () => clock.state.wall;
  return { signer, chain: authority.chain, policy, clock: clock.guarded, wallClock, random: randomBytes };
}

test('an Ed25519 key is refused at the start, because clients do not verify it', async () => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const tsa = await openTestTsa();
  expect(() => createAuthority({ ...options(tsa), signer: createKeySigner(privateKey) })).toThrow(/ed25519.*EC or RSA/);
});

test('an authority refuses another policy than its own', async () => {
  await expect(ask(await openTestTsa(), { policy: '1.2.3.4' })).rejects.toMatchObject({
    code: 'TSA_POLICY_UNACCEPTED',
    detail: `the requested policy is 1.2.3.4; the one here is ${policy}`,
  });
});

test('an authority whose key fails says so, and nothing of the reason', async () => {
  const tsa = await openTestTsa((signer) => ({
    ...signer,
    sign: () => Promise.reject(new AppError('SIGNER_UNAVAILABLE', 'slot 7 is locked', { retryAfterSeconds: 3 })),
  }));
  const failure = await ask(tsa).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'TSA_SIGNER_UNAVAILABLE', httpStatus: 503, retryAfterSeconds: 3 });
  expect((failure as AppError).publicMessage).not.toContain('slot');
});

test('an authority whose certificate has expired gives no timestamps and is not ready', async () => {
  const tsa = await openTestTsa();
  expect(tsa.authority.trouble()).toBeUndefined();
  tsa.time.pass(3651 * 86_400_000);
  expect(tsa.authority.trouble()).toContain('valid from 2026-03-01T12:00:00.000Z to 2036-02-27T12:00:00.000Z only');
  await expect(ask(tsa)).rejects.toMatchObject({ code: 'TSA_SIGNER_UNAVAILABLE' });
});

test('an authority whose clock jumped gives no timestamps', async () => {
  const tsa = await openTestTsa();
  tsa.time.set(60_000);
  await expect(ask(tsa)).rejects.toMatchObject({ code: 'TSA_TIME_UNAVAILABLE', httpStatus: 503 });
  expect(tsa.time.state.wall).toBe(now + 60_000);
});

test('a key that is out of reach is trouble until it is back', async () => {
  let reason: string | undefined;
  const tsa = await openTestTsa((signer) => ({ ...signer, trouble: () => reason }));
  expect(tsa.authority.trouble()).toBeUndefined();
  reason = 'connect ECONNREFUSED';
  expect(tsa.authority.trouble()).toBe("the timestamp authority's key cannot sign: connect ECONNREFUSED");
  reason = undefined;
  expect(tsa.authority.trouble()).toBeUndefined();
});
