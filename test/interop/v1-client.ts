import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';

/** How a v1 client writes its public key. */
export type KeyForm = 'as cosign 2' | 'as gitsign';

/** The answer to a v1 request. */
export interface V1Answer {
  readonly status: number;
  readonly contentType: string;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

const publicKeyJson: Readonly<Record<KeyForm, (key: KeyObject) => object>> = {
  // cosign 2: base64 of the PEM text and no algorithm
  'as cosign 2': (key) => ({ content: Buffer.from(key.export({ type: 'spki', format: 'pem' })).toString('base64') }),
  // gitsign: base64 of the DER
  'as gitsign': (key) => ({
    content: key.export({ type: 'spki', format: 'der' }).toString('base64'),
    algorithm: 'ecdsa',
  }),
};

/** Asks for a certificate for a fresh P-256 key, as the clients of POST /api/v1/signingCert do; `subject` is what is signed as proof. */
export async function requestV1(caUrl: string, token: string, subject: string, form: KeyForm): Promise<V1Answer> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const response = await fetch(`${caUrl}/api/v1/signingCert`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      publicKey: publicKeyJson[form](publicKey),
      signedEmailAddress: sign('sha256', Buffer.from(subject), privateKey).toString('base64'),
      certificateSigningRequest: null,
    }),
  });
  const contentType = response.headers.get('content-type') ?? '';
  const retryAfter = response.headers.get('retry-after') ?? undefined;
  return { status: response.status, contentType, retryAfter, body: await response.text() };
}

/** The certificates of a PEM chain, in order. */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}
