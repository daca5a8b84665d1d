import { newKey, post, v2Body } from './client.js';

/** A certificate that a client received, as DER, leaf first. */
export type Received = readonly Uint8Array[];

/** Clients that ask one server for certificates, one request after the other, until told to stop. */
export interface Load {
  /** Everything any client received, in no order. */
  readonly received: Received[];
  stop(): Promise<void>;
}

/** `clients` concurrent clients of POST /api/v2/signingCert. A request that fails or is cut off is not counted. */
export function startLoad(url: string, token: string, challenge: string, clients: number): Load {
  const received: Received[] = [];
  let stopped = false;
  const client = async (): Promise<void> => {
    const body = v2Body(token, challenge, newKey());
    while (!stopped) {
      try {
        const answer = await post(`${url}/api/v2/signingCert`, body);
        if (answer.status === 200) received.push(derChain(answer.text));
        else await new Promise((resolve) => setTimeout(resolve, 10));
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  };
  const running = Promise.all(Array.from({ length: clients }, client));
  return {
    received,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

function derChain(text: string): Uint8Array[] {
  const answer = JSON.parse(text) as { signedCertificateEmbeddedSct: { chain: { certificates: string[] } } };
  return answer.signedCertificateEmbeddedSct.chain.certificates.map((pem) =>
    Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64'),
  );
}
