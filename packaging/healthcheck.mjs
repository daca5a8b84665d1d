// The image's health check: 0 when GET /healthz on the HTTP port answers 200, with TLS or without.
// The port is FULCIO_SERVE_PORT, or 8080; a server that gets --port on its command line needs the variable as well.
import http from 'node:http';
import https from 'node:https';

const port = process.env.FULCIO_SERVE_PORT || '8080';

/** Resolves to whether the answer is 200; asks this very host, so a certificate for another name is as good. */
function serves(client) {
  return new Promise((resolve) => {
    const request = client.get(
      { host: '127.0.0.1', port, path: '/healthz', timeout: 2000, rejectUnauthorized: false },
      (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      },
    );
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

process.exit((await serves(http)) || (await serves(https)) ? 0 : 1);
