import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, messageOf } from '../errors.js';

/** Where Vault or OpenBao is and how to be let in, from the variables that their own client reads. */
export interface VaultSettings {
  /** The API's address without a slash at its end. */
  readonly address: string;
  /** Path of the transit engine. */
  readonly mount: string;
  readonly namespace?: string;
  /** PEM: trusted instead of the system's roots. */
  readonly caCertificate?: string;
  /** PEM: shown to the server. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
  readonly tlsServerName?: string;
  /** The token as it is now: one in a file is read anew each time, so that an agent can replace it. */
  readonly token: () => string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const pathPattern = /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)*$/;

/**
 * Reads VAULT_ADDR, VAULT_TOKEN and their kin, each also as BAO_…, and TRANSIT_SECRET_ENGINE_PATH. Throws AppError STARTUP
 * naming the variable that is wrong, never what a token is.
 */
export function vaultSettings(environment: Environment): VaultSettings {
  const read = (name: string) => {
    const found = [`VAULT_${name}`, `BAO_${name}`].find((variable) => (environment[variable] ?? '') !== '');
    return found === undefined ? undefined : { variable: found, value: environment[found] ?? '' };
  };
  const file = (name: string) => {
    const set = read(name);
    return set === undefined ? undefined : readVariableFile(set.variable, set.value);
  };
  refuseUnsupported(read);
  const namespace = read('NAMESPACE');
  const serverName = read('TLS_SERVER_NAME');
  const ca = file('CACERT');
  const [cert, key] = [file('CLIENT_CERT'), file('CLIENT_KEY')];
  if ((cert === undefined) !== (key === undefined)) {
    throw new AppError('STARTUP', 'VAULT_CLIENT_CERT and VAULT_CLIENT_KEY go together; one of them is missing');
  }
  return {
    address: address(read('ADDR')),
    mount: path('TRANSIT_SECRET_ENGINE_PATH', environment.TRANSIT_SECRET_ENGINE_PATH || 'transit'),
    ...(namespace === undefined ? {} : { namespace: path(namespace.variable, namespace.value) }),
    ...(ca === undefined ? {} : { caCertificate: ca }),
    ...(cert === undefined || key === undefined ? {} : { clientCertificate: { cert, key } }),
    ...(serverName === undefined ? {} : { tlsServerName: serverName.value }),
    token: tokenSource(read('TOKEN'), read('TOKEN_FILE'), environment.HOME),
  };
}

type Read = (name: string) => { readonly variable: string; readonly value: string } | undefined;

function refuseUnsupported(read: Read): void {
  const skip = read('SKIP_VERIFY');
  if (skip !== undefined && !/^(?:0|f|false)$/i.test(skip.value)) {
    throw new AppError(
      'STARTUP',
      `${skip.variable} would send the token to whoever answers; name the TLS root in VAULT_CACERT instead`,
    );
  }
}

function address(set: ReturnType<Read>): string {
  if (set === undefined) throw new AppError('STARTUP', 'VAULT_ADDR or BAO_ADDR is not set; expected https://HOST:8200');
  const url = URL.canParse(set.value) ? new URL(set.value) : undefined;
  const isPlain = url?.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (url === undefined || !isPlain || !/^https?:$/.test(url.protocol)) {
    throw new AppError(
      'STARTUP',
      `${set.variable} is not the address of a server; expected an http or https URL without credentials and query`,
    );
  }
  return url.href.replace(/\/+$/, '');
}

function path(variable: string, value: string): string {
  const trimmed = value.replace(/^\/+|\/+$/g, '');
  if (trimmed.length <= 255 && pathPattern.test(trimmed)) return trimmed;
  throw new AppError('STARTUP', `${variable} is not a path; expected names joined by "/", such as team/transit`);
}

/** In the order of Vault's client: the variable, then the file that `vault login` writes. */
function tokenSource(token: ReturnType<Read>, file: ReturnType<Read>, home: string | undefined): () => string {
  if (token !== undefined) return () => checkToken(token.variable, token.value);
  if (file !== undefined) return () => checkToken(file.variable, readVariableFile(file.variable, file.value));
  if (home === undefined || home === '') {
    throw new AppError('STARTUP', 'there is no Vault token: VAULT_TOKEN, VAULT_TOKEN_FILE and HOME are not set');
  }
  const usual = join(home, '.vault-token');
  return () => checkToken(usual, readVariableFile('neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set', usual));
}

function checkToken(from: string, text: string): string {
  const token = text.trim();
  if (/^[\x21-\x7e]{1,4096}$/.test(token)) return token;
  throw new AppError('STARTUP', `${from} holds no token; expected one line of plain ASCII`);
}

function readVariableFile(variable: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AppError('STARTUP', `${variable}: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
