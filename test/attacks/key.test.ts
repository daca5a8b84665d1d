import { generateKeyPairSync, sign } from 'node:crypto';
import { encodeBitString, encodeElement, encodeOid, encodeSequence } from '../../src/x509/der.js';
import { encodePem } from '../../src/x509/pem.js';
import { parseSpki } from '../../src/x509/spki.js';
import { post } from '../support/client.js';
import { claims, closeAll, issuerUrl, jwt, type Lab, openLab, refusal } from './lab.js';

/** Keys that bring more into the certificate than a key, against a running server. */

let lab: Lab;
beforeAll(async () => {
  const users = { 'client-id': 'sigstore', type: 'username', 'subject-domain': 'example.com', 'jwks-file': 'KEYS' };
  lab = await openLab({ 'oidc-issuers': { [issuerUrl]: users } });
});
afterAll(closeAll);

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = parseSpki(publicKey.export({ type: 'spki', format: 'der' })).key;

async function ask(...algorithm: readonly Uint8Array[]): Promise<string> {
  const token = jwt(claims());
  const spki = encodeSequence(encodeSequence(...algorithm), encodeBitString(key));
  const proofOfPossession = sign('sha256', Buffer.from('user-1'), privateKey).toString('base64');
  const publicKeyRequest = { publicKey: { content: encodePem('PUBLIC KEY', spki) }, proofOfPossession };
  const body = JSON.stringify({ credentials: { oidcIdentityToken: token }, publicKeyRequest });
  const answer = await post(`${lab.server.url}/api/v2/signingCert`, body);
  return answer.status === 200 ? '200' : refusal(answer, token);
}

const rsa = encodeOid('1.2.840.113549.1.1.1');

test('an RSA key as it should be is accepted', async () => {
  expect(await ask(rsa, encodeElement(0x05))).toBe('200');
});

test.each([
  ['bytes inside its NULL', [rsa, encodeElement(0x05, Buffer.from('hidden'))]],
  ['no NULL', [rsa]],
  ['a string in place of the NULL', [rsa, encodeElement(0x0c, Buffer.from('hidden'))]],
  ['a third part in its algorithm', [rsa, encodeElement(0x05), encodeElement(0x0c, Buffer.from('hidden'))]],
])('an RSA key with %s is refused: it would go into the certificate as it is', async (_what, algorithm) => {
  expect(await ask(...algorithm)).toMatch(/^400 KEY_MALFORMED: /);
});
