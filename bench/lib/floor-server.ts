import cluster from 'node:cluster';
import { createPublicKey, generateKeyPairSync, type JsonWebKey, KeyObject, sign, verify, webcrypto } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';

/*
 * What no certificate authority in Node can do without, and nothing else: HTTP and JSON, one RS256 token verified, one P-256 key
 * imported, its proof verified, three P-256 signatures over a TBSCertificate's length, and an answer of the usual size. No
 * checks, no log, no state: a floor to hold Mayfly against, not a server.
 * floor-server.ts PORT PROCESSES ISSUER-URL
 */

const [port = '0', processes = '1', issuerUrl = ''] = process.argv.slice(2);
const tbs = Buffer.alloc(700, 0x30);
const chain = Array.from(
  { length: 2 },
  () => `-----BEGIN CERTIFICATE-----\n${'A'.repeat(800)}\n-----END CERTIFICATE-----\n`,
);

if (cluster.isPrimary && Number(processes) > 1) {
  for (let i = 0; i < Number(processes); i++) cluster.fork();
  process.on('SIGTERM', () => process.exit(0));
} else await serve();

async function serve(): Promise<void> {
  const jwks = (await (await fetch(`${issuerUrl}/jwks`)).json()) as { keys: [JsonWebKey] };
  const issuerKey = createPublicKey({ key: jwks.keys[0], format: 'jwk' });
  const ca = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const server = createServer(async (request, response) => {
    if (request.method !== 'POST') return void response.end('ok');
    const { credentials, publicKeyRequest } = JSON.parse(await bodyOf(request));
    const token: string = credentials.oidcIdentityToken;
    const end = token.lastIndexOf('.');
    const signature = Buffer.from(token.slice(end + 1), 'base64url');
    const isToken = verify('sha256', Buffer.from(token.slice(0, end), 'latin1'), issuerKey, signature);
    const claims = JSON.parse(Buffer.from(token.slice(token.indexOf('.') + 1, end), 'base64url').toString());
    const spki = Buffer.from(publicKeyRequest.publicKey.content.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64');
    const parameters = { name: 'ECDSA', namedCurve: 'P-256' };
    const key = await webcrypto.subtle.importKey('raw', spki.subarray(-65), parameters, true, ['verify']);
    const proof = Buffer.from(publicKeyRequest.proofOfPossession, 'base64');
    const isProof = verify('sha256', Buffer.from(claims.email), KeyObject.from(key), proof);
    if (!isToken || !isProof) return void response.writeHead(400).end();
    const signatures = [1, 2, 3].map(() => sign('sha256', tbs, ca));
    const leaf = `-----BEGIN CERTIFICATE-----\n${Buffer.concat([tbs, ...signatures]).toString('base64')}\n-----END CERTIFICATE-----\n`;
    const body = JSON.stringify({ signedCertificateEmbeddedSct: { chain: { certificates: [leaf, ...chain] } } });
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length }).end(body);
  });
  server.listen(Number(port), '127.0.0.1');
  process.on('SIGTERM', () => process.exit(0));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}
