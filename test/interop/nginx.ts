import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { mustRun, projectDir } from './command.js';
import { freePort, type RunningServer, startServer } from './server-process.js';

/** nginx with the block that docs/log.md prints. */
export interface FrontServer extends RunningServer {
  /** PEM of the certificate to trust. */
  readonly certificatePath: string;
  /** GET, or POST of JSON; the path goes out as it is. */
  ask(path: string, body?: string): Promise<FrontAnswer>;
}

export interface FrontAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What an operator changes in the block: the text there, and the text in its place. */
type Changes = readonly (readonly [string, string])[];

function documentedBlock(changes: Changes): string {
  const [, block] = /^```nginx\n(.*?)^```$/ms.exec(readFileSync(join(projectDir, 'docs/log.md'), 'utf8')) ?? [];
  if (block === undefined) throw new Error('docs/log.md has no block of nginx');
  return changes.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`the nginx block of docs/log.md has no "${from}"`);
    return text.replaceAll(from, to);
  }, block);
}

async function makeTlsFiles(dir: string): Promise<{ certificate: string; key: string }> {
  const [certificate, key] = [join(dir, 'tls.pem'), join(dir, 'tls.key')];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];
  const names = ['-subj', '/CN=ca.example.com', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await mustRun('openssl', ['req', ...kind, ...names, '-keyout', key, '-out', certificate], { cwd: dir });
  return { certificate, key };
}

export interface FrontOptions {
  /** Made here; for everything of nginx. */
  readonly dir: string;
  readonly port: number;
  /** Port of Mayfly, which need not run yet. */
  readonly upstream: number;
  /** The directory in which the log is `ctlog`; nginx's workers are another user than root. */
  readonly root: string;
}

/** Starts Debian's nginx with the documented block and nothing else of it changed than names, ports and paths. */
export async function startNginx({ dir, port, upstream, root }: FrontOptions): Promise<FrontServer> {
  mkdirSync(dir);
  const [tls, readyPort] = [await makeTlsFiles(dir), await freePort()];
  const block = documentedBlock([
    ['127.0.0.1:8080', `127.0.0.1:${upstream}`],
    ['listen 443 ssl', `listen 127.0.0.1:${port} ssl`],
    ['/etc/ssl/ca.example.com.pem', tls.certificate],
    ['/etc/ssl/private/ca.example.com.key', tls.key],
    ['root /srv/mayfly', `root ${root}`],
  ]);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(dir, name)};`)
    .join(' ');
  const [config, log] = [join(dir, 'nginx.conf'), join(dir, 'error.log')];
  const ready = `server { listen 127.0.0.1:${readyPort}; location / { return 200; } }`;
  writeFileSync(
    config,
    `daemon off; pid ${join(dir, 'nginx.pid')}; error_log ${log};
events {}
http { access_log off; ${temporary}
${ready}
${block}}
`,
  );
  const server = await startServer({
    name: 'nginx',
    command: 'nginx',
    args: ['-c', config, '-e', log],
    cwd: dir,
    readyUrl: `http://127.0.0.1:${readyPort}/`,
  });
  const ca = readFileSync(tls.certificate);
  return {
    ...server,
    certificatePath: tls.certificate,
    ask: (path, body) =>
      new Promise((resolve, reject) => {
        const headers = body === undefined ? {} : { 'content-type': 'application/json' };
        const method = body === undefined ? 'GET' : 'POST';
        const sent = request({ host: '127.0.0.1', port, path, method, headers, ca, agent: false }, (answer) => {
          const parts: Buffer[] = [];
          answer.on('data', (part: Buffer) => parts.push(part));
          answer.on('error', reject);
          answer.on('end', () =>
            resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(parts) }),
          );
        });
        sent.on('error', reject);
        sent.end(body);
      }),
  };
}
