import type { FetchPolicy } from './fetcher.js';

/** The Kubernetes API server as its pods know it, and as an issuer of service account tokens. */
const apiServerHosts: ReadonlySet<string> = new Set(['kubernetes.default.svc', 'kubernetes.default.svc.cluster.local']);

export interface InClusterFiles {
  /** PEM of the cluster's CA. */
  readonly caCert: string;
  /** The pod's own service account token; read anew for each fetch, because the kubelet rotates it. */
  readonly token: string;
}

export const defaultInClusterFiles: InClusterFiles = {
  caCert: '/var/run/fulcio/ca.crt',
  token: '/var/run/secrets/kubernetes.io/serviceaccount/token',
};

export function isInClusterIssuer(issuer: string): boolean {
  return issuer.startsWith('https://') && apiServerHosts.has(new URL(issuer).hostname);
}

/** Adds the cluster's CA and the pod's token, as far as the files are there. Only for `isInClusterIssuer`. */
export function inClusterPolicy(
  policy: FetchPolicy,
  files: InClusterFiles,
  readTextFile: (path: string) => string,
): FetchPolicy {
  const read = (path: string): string | undefined => {
    try {
      return readTextFile(path).trim();
    } catch {
      // Not in a cluster, or a cluster that lets anybody read its keys: the fetch itself will tell.
      return undefined;
    }
  };
  return { ...policy, caCert: policy.caCert ?? read(files.caCert), bearerToken: read(files.token) };
}

/**
 * The API server announces its keys under its node address, often an IP; it serves them under its service name too.
 * Asking there keeps the pod's token with the one host that may see it.
 */
export function inClusterKeysUrl(issuer: string, jwksUri: URL): URL {
  return new URL(jwksUri.pathname + jwksUri.search, new URL(issuer).origin);
}
