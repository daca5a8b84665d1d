import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';

/** A fresh P-256 key and the PEM of its public half. */
export function newKey(): { privateKey: KeyObject; publicKeyPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, publicKeyPem: String(publicKey.export({ type: 'spki', format: 'pem' })) };
}

/** The v2 body for a key and the text it must have signed. */
export function v2Body(token: string, challenge: string, key = newKey()): string {
  return JSON.stringify({
    credentials: { oidcIdentityToken: token },
    publicKeyRequest: {
      publicKey: { algorithm: 'ECDSA', content: key.publicKeyPem },
      proofOfPossession: sign('sha256', Buffer.from(challenge), key.privateKey).toString('base64'),
    },
  });
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly headers: Headers;
}

export async function post(url: string, body: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json', ...headers },
  });
  return {
    status: response.status,
    type: response.headers.get('content-type') ?? '',
    text: await response.text(),
    headers: response.headers,
  };
}

/** The certificates of a v2 answer, leaf first. */
export function v2Chain(answer: Answer): X509Certificate[] {
  const parsed = JSON.parse(answer.text) as Record<string, { chain: { certificates: string[] } }>;
  const chain = Object.values(parsed)[0]?.chain.certificates ?? [];
  return chain.map((pem) => new X509Certificate(pem));
}
