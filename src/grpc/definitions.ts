import { load, mapEntry, message, messageOf, service, serviceOf } from './proto.js';

const fulcio = load('dev.sigstore.fulcio.v2', {
  CA: service({
    CreateSigningCertificate: { requestType: 'CreateSigningCertificateRequest', responseType: 'SigningCertificate' },
    GetTrustBundle: { requestType: 'GetTrustBundleRequest', responseType: 'TrustBundle' },
    GetConfiguration: { requestType: 'GetConfigurationRequest', responseType: 'Configuration' },
  }),
  CreateSigningCertificateRequest: message(
    {
      credentials: [1, 'Credentials'],
      public_key_request: [2, 'PublicKeyRequest'],
      certificate_signing_request: [3, 'bytes'],
    },
    { key: ['public_key_request', 'certificate_signing_request'] },
  ),
  Credentials: message({ oidc_identity_token: [1, 'string'] }, { credentials: ['oidc_identity_token'] }),
  PublicKeyRequest: message({ public_key: [1, 'PublicKey'], proof_of_possession: [2, 'bytes'] }),
  PublicKey: message({ algorithm: [1, 'PublicKeyAlgorithm'], content: [2, 'string'] }),
  PublicKeyAlgorithm: { values: { PUBLIC_KEY_ALGORITHM_UNSPECIFIED: 0, RSA_PSS: 1, ECDSA: 2, ED25519: 3 } },
  SigningCertificate: message(
    {
      signed_certificate_detached_sct: [1, 'SigningCertificateDetachedSCT'],
      signed_certificate_embedded_sct: [2, 'SigningCertificateEmbeddedSCT'],
    },
    { certificate: ['signed_certificate_detached_sct', 'signed_certificate_embedded_sct'] },
  ),
  SigningCertificateDetachedSCT: message({
    chain: [1, 'CertificateChain'],
    signed_certificate_timestamp: [2, 'bytes'],
  }),
  SigningCertificateEmbeddedSCT: message({ chain: [1, 'CertificateChain'] }),
  CertificateChain: message({ certificates: [1, 'repeated string'] }),
  GetTrustBundleRequest: message({}),
  TrustBundle: message({ chains: [1, 'repeated CertificateChain'] }),
  GetConfigurationRequest: message({}),
  Configuration: message({ issuers: [1, 'repeated OIDCIssuer'] }),
  OIDCIssuer: message(
    {
      issuer_url: [1, 'string'],
      wildcard_issuer_url: [2, 'string'],
      audience: [3, 'string'],
      challenge_claim: [4, 'string'],
      spiffe_trust_domain: [5, 'string'],
      issuer_type: [6, 'string'],
      subject_domain: [7, 'string'],
      skip_email_verification: [8, 'bool'],
    },
    { issuer: ['issuer_url', 'wildcard_issuer_url'] },
  ),
});

/** https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
const health = load('grpc.health.v1', {
  Health: service({
    Check: { requestType: 'HealthCheckRequest', responseType: 'HealthCheckResponse' },
    List: { requestType: 'HealthListRequest', responseType: 'HealthListResponse' },
    Watch: { requestType: 'HealthCheckRequest', responseType: 'HealthCheckResponse', responseStream: true },
  }),
  HealthCheckRequest: message({ service: [1, 'string'] }),
  HealthCheckResponse: {
    ...message({ status: [1, 'ServingStatus'] }),
    nested: { ServingStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } } },
  },
  HealthListRequest: message({}),
  HealthListResponse: {
    ...message({ statuses: [1, 'repeated StatusesEntry'] }),
    nested: { StatusesEntry: mapEntry('HealthCheckResponse') },
  },
});

/** https://github.com/grpc/grpc/blob/master/doc/server-reflection.md; the two versions differ in the package only. */
const reflectionMessages = {
  ServerReflection: service({
    ServerReflectionInfo: {
      requestType: 'ServerReflectionRequest',
      responseType: 'ServerReflectionResponse',
      requestStream: true,
      responseStream: true,
    },
  }),
  ServerReflectionRequest: message(
    {
      host: [1, 'string'],
      file_by_filename: [3, 'string'],
      file_containing_symbol: [4, 'string'],
      file_containing_extension: [5, 'ExtensionRequest'],
      all_extension_numbers_of_type: [6, 'string'],
      list_services: [7, 'string'],
    },
    {
      message_request: [
        'file_by_filename',
        'file_containing_symbol',
        'file_containing_extension',
        'all_extension_numbers_of_type',
        'list_services',
      ],
    },
  ),
  ExtensionRequest: message({ containing_type: [1, 'string'], extension_number: [2, 'int32'] }),
  ServerReflectionResponse: message(
    {
      valid_host: [1, 'string'],
      original_request: [2, 'ServerReflectionRequest'],
      file_descriptor_response: [4, 'FileDescriptorResponse'],
      all_extension_numbers_response: [5, 'ExtensionNumberResponse'],
      list_services_response: [6, 'ListServiceResponse'],
      error_response: [7, 'ErrorResponse'],
    },
    {
      message_response: [
        'file_descriptor_response',
        'all_extension_numbers_response',
        'list_services_response',
        'error_response',
      ],
    },
  ),
  FileDescriptorResponse: message({ file_descriptor_proto: [1, 'repeated bytes'] }),
  ExtensionNumberResponse: message({ base_type_name: [1, 'string'], extension_number: [2, 'repeated int32'] }),
  ListServiceResponse: message({ service: [1, 'repeated ServiceResponse'] }),
  ServiceResponse: message({ name: [1, 'string'] }),
  ErrorResponse: message({ error_code: [1, 'int32'], error_message: [2, 'string'] }),
};
const reflectionV1 = load('grpc.reflection.v1', reflectionMessages);
const reflectionV1Alpha = load('grpc.reflection.v1alpha', reflectionMessages);

/** https://github.com/googleapis/googleapis/tree/master/google/rpc, status.proto and RetryInfo with what they import inlined. */
const rpc = load('google.rpc', {
  Status: message({ code: [1, 'int32'], message: [2, 'string'], details: [3, 'repeated Any'] }),
  Any: message({ type_url: [1, 'string'], value: [2, 'bytes'] }),
  RetryInfo: message({ retry_delay: [1, 'Duration'] }),
  Duration: message({ seconds: [1, 'int64'], nanos: [2, 'int32'] }),
});
/** error_details.proto of the same; described to clients, who find it in the details of a status. */
const errorDetails = load('google.rpc', {
  ErrorInfo: {
    ...message({ reason: [1, 'string'], domain: [2, 'string'], metadata: [3, 'repeated MetadataEntry'] }),
    nested: { MetadataEntry: mapEntry('string') },
  },
});

export const caServiceName = 'dev.sigstore.fulcio.v2.CA';
export const healthServiceName = 'grpc.health.v1.Health';

export const caService = serviceOf(fulcio, caServiceName);
export const createSigningCertificateRequest = messageOf(
  fulcio,
  'dev.sigstore.fulcio.v2.CreateSigningCertificateRequest',
);
export const healthService = serviceOf(health, healthServiceName);
export const reflectionServices = [
  serviceOf(reflectionV1, 'grpc.reflection.v1.ServerReflection'),
  serviceOf(reflectionV1Alpha, 'grpc.reflection.v1alpha.ServerReflection'),
] as const;
export const rpcStatus = messageOf(rpc, 'google.rpc.Status');
export const rpcRetryInfo = messageOf(rpc, 'google.rpc.RetryInfo');
export const rpcErrorInfo = messageOf(errorDetails, 'google.rpc.ErrorInfo');

/** Everything reflection describes. */
export const describedPackages = [fulcio, health, reflectionV1, reflectionV1Alpha, errorDetails] as const;
