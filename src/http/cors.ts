import type { NextFunction, Request, Response } from 'express';

/** Open CORS as Fulcio has it, and for preflights that name the Authorization header too (Fulcio refuses those). */
export function allowAnyOrigin(request: Request, response: Response, next: NextFunction): void {
  response.setHeader('Vary', 'Origin');
  const origin = request.headers.origin;
  if (origin !== undefined) response.setHeader('Access-Control-Allow-Origin', '*');
  const method = request.headers['access-control-request-method'];
  if (request.method !== 'OPTIONS' || origin === undefined || method === undefined) {
    next();
    return;
  }
  response.setHeader('Vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers');
  response.setHeader('Access-Control-Allow-Methods', 'GET, POST');
  response.setHeader('Access-Control-Allow-Headers', 'authorization, content-type');
  response.setHeader('Access-Control-Max-Age', '600');
  response.statusCode = 204;
  response.end();
}

/** gRPC-gateway's X-HTTP-Method-Override: a form-encoded POST may stand for a GET. */
export function methodOverride(request: Request, _response: Response, next: NextFunction): void {
  const type = request.headers['content-type'] ?? '';
  const override = request.get('x-http-method-override');
  if (request.method === 'POST' && override === 'GET' && type.startsWith('application/x-www-form-urlencoded')) {
    request.method = 'GET';
  }
  next();
}
