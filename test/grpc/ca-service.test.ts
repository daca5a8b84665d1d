import { status } from '@grpc/grpc-js';
import { AppError, type ErrorCode, errorTable } from '../../src/errors.js';
import { caService } from '../../src/grpc/definitions.js';
import {
  call,
  closeAll,
  connect,
  createMethod,
  issued,
  keyRequest,
  leafPem,
  methodOf,
  rootPem,
  serve,
} from './support.js';

afterEach(closeAll);

const csrField = Buffer.from([0x1a, 3, 0x63, 0x73, 0x72]);
const encoded = createMethod.requestSerialize(keyRequest);

describe('CreateSigningCertificate', () => {
  test.each([
    { name: 'with an embedded SCT', logged: true, member: 'signed_certificate_embedded_sct' },
    { name: 'without an SCT when the log is off', logged: false, member: 'signed_certificate_detached_sct' },
  ])('answers the chain, leaf first, $name', async ({ logged, member }) => {
    const { port } = await serve({ issue: async () => issued(logged) });

    const outcome = await call(connect(port), createMethod, keyRequest);

    expect(outcome.code).toBe(status.OK);
    expect(outcome.answer).toMatchObject({ [member]: { chain: { certificates: [leafPem, rootPem] } } });
    expect(Object.keys(outcome.answer as object)).toEqual([member]);
  });

  const fromKey = { kind: 'publicKey', key: 'PEM', proof: Buffer.from('proof') };
  const fromCsr = { kind: 'csr', csr: Buffer.from('csr') };
  const noKey = { kind: 'publicKey', key: '', proof: new Uint8Array() };
  test.each([
    { name: 'a key', raw: encoded, key: fromKey },
    { name: 'a CSR', raw: csrField, key: fromCsr },
    { name: 'a key and then a CSR', raw: Buffer.concat([encoded, csrField]), key: fromCsr },
    { name: 'a CSR and then a key', raw: Buffer.concat([csrField, encoded]), key: fromKey },
    { name: 'a key and then an empty CSR', raw: Buffer.concat([encoded, Buffer.from([0x1a, 0])]), key: noKey },
    { name: 'a field nobody knows', raw: Buffer.concat([encoded, Buffer.from([0x9a, 0x06, 1, 65])]), key: fromKey },
    { name: 'an algorithm outside the enum', raw: withAlgorithm(99), key: fromKey },
    { name: 'nothing at all', raw: Buffer.alloc(0), key: noKey },
  ])('hands issue() what $name means', async ({ raw, key }) => {
    const { port, requests } = await serve();

    await call(connect(port), createMethod, {}, { raw });

    expect(requests.map((request) => plain(request.key))).toEqual([plain(key)]);
  });

  test.each([
    { name: 'of the message', message: keyRequest, metadata: {}, token: 'token' },
    { name: 'of the metadata', message: {}, metadata: { oidcidentitytoken: 'other' }, token: 'other' },
    {
      name: 'of the message when both are there',
      message: keyRequest,
      metadata: { oidcidentitytoken: 'other' },
      token: 'token',
    },
    { name: 'of no other metadata', message: {}, metadata: { authorization: 'Bearer other' }, token: '' },
  ])('takes the token $name', async ({ message, metadata, token }) => {
    const { port, requests } = await serve();

    await call(connect(port), createMethod, message, { metadata });

    expect(requests.map((request) => request.token)).toEqual([token]);
  });
});

describe('errors', () => {
  test.each(Object.entries(errorTable))(
    '%s has the code and the message that HTTP gives, and details',
    async (name, row) => {
      const error = new AppError(name as ErrorCode, 'what was found');
      const { port, logs } = await serve({ issue: () => Promise.reject(error) });

      const outcome = await call(connect(port), createMethod, keyRequest, { metadata: { 'x-request-id': 'mine-1' } });

      const message = `${row.sentence}: what was found`;
      expect(outcome).toMatchObject({ code: error.grpcCode, message });
      expect(outcome.details).toEqual({
        code: error.grpcCode,
        message,
        info: { reason: name, domain: 'mayfly', metadata: { requestId: 'mine-1' } },
      });
      expect(outcome.trailers.get('x-request-id')).toEqual(['mine-1']);
      expect(logs).toContainEqual(expect.objectContaining({ requestId: 'mine-1', reason: name, msg: message }));
    },
  );

  test('an error nobody foresaw says nothing of itself to the client', async () => {
    const { port, logs } = await serve({ issue: () => Promise.reject(new Error('password hunter2')) });

    const outcome = await call(connect(port), createMethod, keyRequest);

    expect(outcome.code).toBe(status.INTERNAL);
    expect(JSON.stringify(outcome)).not.toContain('hunter2');
    expect(JSON.stringify(logs)).toContain('hunter2');
  });

  test('bytes that are no message are the client’s fault', async () => {
    const { port, requests } = await serve();

    const outcome = await call(connect(port), createMethod, {}, { raw: Buffer.from([0x0a, 0xff]) });

    expect(outcome.code).toBe(status.INVALID_ARGUMENT);
    expect(outcome.details?.info).toMatchObject({ reason: 'BODY_MALFORMED' });
    expect(requests).toEqual([]);
  });

  test.each([
    { name: 'a lone surrogate', detail: 'claim is "\ud800"', message: 'claim is "\ufffd"' },
    { name: 'a line break and a percent sign', detail: 'a\r\nb%zz', message: 'a\r\nb%zz' },
  ])('a message with $name arrives', async ({ detail, message }) => {
    const { port } = await serve({ issue: () => Promise.reject(new AppError('CLAIM_INVALID', detail)) });

    const outcome = await call(connect(port), createMethod, keyRequest);

    expect(outcome).toMatchObject({ code: 3, message: `${errorTable.CLAIM_INVALID.sentence}: ${message}` });
  });

  test.each(['x', 'é', '漢', '😀'])(
    'a very long message of %s is cut so that clients take the trailers',
    async (letter) => {
      const error = new AppError('CLAIM_INVALID', letter.repeat(20_000));
      const { port } = await serve({ issue: () => Promise.reject(error) });

      const outcome = await call(connect(port), createMethod, keyRequest);

      expect(outcome.code).toBe(3);
      expect(outcome.message).toMatch(new RegExp(`${letter}…$`, 'u'));
      expect(encodeURI(outcome.message).length).toBeLessThanOrEqual(2048);
    },
  );
});

describe('the other methods', () => {
  test('GetTrustBundle answers every chain', async () => {
    const { port } = await serve();

    const outcome = await call(connect(port), methodOf(caService, 'GetTrustBundle'), {});

    expect(outcome.answer).toEqual({ chains: [{ certificates: [rootPem] }, { certificates: ['second'] }] });
  });

  test('GetConfiguration answers the issuers', async () => {
    const common = { audience: 'sigstore', challengeClaim: 'sub', spiffeTrustDomain: '', issuerType: 'uri' };
    const rest = { subjectDomain: 'https://a.example', skipEmailVerification: true };
    const issuers = [
      { issuerUrl: 'https://a.example', ...common, ...rest },
      { wildcardIssuerUrl: 'https://*.b.example', ...common, ...rest },
    ];
    const { port } = await serve({ configuration: () => ({ issuers }) });

    const outcome = await call(connect(port), methodOf(caService, 'GetConfiguration'), {});

    const expected = {
      audience: 'sigstore',
      challenge_claim: 'sub',
      spiffe_trust_domain: '',
      issuer_type: 'uri',
      subject_domain: 'https://a.example',
      skip_email_verification: true,
    };
    expect(outcome.answer).toEqual({
      issuers: [
        { issuer_url: 'https://a.example', ...expected },
        { wildcard_issuer_url: 'https://*.b.example', ...expected },
      ],
    });
  });
});

/** The same bytes as Buffer or Uint8Array compare equal. */
function plain(key: object): object {
  return Object.fromEntries(
    Object.entries(key).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value).toString() : value,
    ]),
  );
}

function withAlgorithm(algorithm: number): Buffer {
  const request = keyRequest.public_key_request;
  const publicKey = { ...request.public_key, algorithm };
  return Buffer.from(
    createMethod.requestSerialize({ ...keyRequest, public_key_request: { ...request, public_key: publicKey } }),
  );
}
