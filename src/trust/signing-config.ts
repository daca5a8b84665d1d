import { type Service, type ServiceConfiguration, ServiceSelector, SigningConfig } from '@sigstore/protobuf-specs';
import type { TrustMaterial, TrustPeriod } from './material.js';
import { toTimeRange, trustedRootJson } from './trusted-root.js';

export const signingConfigMediaType = 'application/vnd.dev.sigstore.signingconfig.v0.2+json';
export const clientTrustConfigMediaType = 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json';

/** Clients call the first version of Fulcio's API 1, although its path is /api/v2. */
const caApiVersion = 1;
const tsaApiVersion = 1;
const oidcApiVersion = 1;

/**
 * The signing configuration of an instance (sigstore_trustroot.proto, SigningConfig v0.2) as a JSON value: where a
 * client asks for certificates, identity tokens, timestamps and log entries. Each list has its newest service first.
 */
export function signingConfigJson(material: TrustMaterial): unknown {
  const { cas, oidcProviders = [], rekors = [], tsas = [] } = material;
  // A former authority must still be believed, and cannot be asked any more.
  const inUse = tsas.filter(({ validFor }) => validFor.end === undefined);
  return SigningConfig.toJSON({
    mediaType: signingConfigMediaType,
    caUrls: toServices(cas.slice(0, 1).map((ca) => ({ ...ca, url: ca.uri, majorApiVersion: caApiVersion }))),
    oidcUrls: toServices(oidcProviders.map((oidc) => ({ ...oidc, majorApiVersion: oidcApiVersion }))),
    rekorTlogUrls: toServices(rekors.map((rekor) => ({ ...rekor, url: rekor.baseUrl }))),
    rekorTlogConfig: anyOne,
    tsaUrls: toServices(inUse.map((tsa) => ({ ...tsa, url: tsa.uri, majorApiVersion: tsaApiVersion }))),
    tsaConfig: anyOne,
  });
}

/**
 * Trusted root and signing configuration in one JSON value (ClientTrustConfig v0.1), the file that sigstore-python
 * takes. sigstore-python signs and verifies only with one that names a Rekor.
 */
export function clientTrustConfigJson(material: TrustMaterial): unknown {
  return {
    mediaType: clientTrustConfigMediaType,
    trustedRoot: trustedRootJson(material),
    signingConfig: signingConfigJson(material),
  };
}

interface ServiceInput {
  readonly url: string;
  readonly majorApiVersion: number;
  readonly validFor: TrustPeriod;
  readonly operator: string;
}

function toServices(services: readonly ServiceInput[]): Service[] {
  return [...services]
    .sort((a, b) => b.validFor.start.getTime() - a.validFor.start.getTime())
    .map(({ url, majorApiVersion, validFor, operator }) => ({
      url,
      majorApiVersion,
      validFor: toTimeRange(validFor),
      operator,
    }));
}

/**
 * One of the services will do. It stands there without services too: sigstore-go wants the message, and sigstore-python a
 * selector in it.
 */
const anyOne: ServiceConfiguration = { selector: ServiceSelector.ANY, count: 0 };
