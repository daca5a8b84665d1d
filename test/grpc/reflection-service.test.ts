import { Metadata } from '@grpc/grpc-js';
import descriptor from 'protobufjs/ext/descriptor/index.js';
import { describedPackages, reflectionServices } from '../../src/grpc/definitions.js';
import { createReflection, type ReflectionRequest } from '../../src/grpc/reflection-service.js';
import { closeAll, connect, methodOf, serve } from './support.js';

afterEach(closeAll);

const answer = createReflection(describedPackages);
const ask = (request: Partial<ReflectionRequest>) => answer({ host: '', ...request }) as Record<string, never>;

describe('reflection', () => {
  test('lists every service', () => {
    expect(ask({ list_services: '' })).toEqual({
      list_services_response: {
        service: [
          { name: 'dev.sigstore.fulcio.v2.CA' },
          { name: 'grpc.health.v1.Health' },
          { name: 'grpc.reflection.v1.ServerReflection' },
          { name: 'grpc.reflection.v1alpha.ServerReflection' },
        ],
      },
    });
  });

  test.each([
    { name: 'a service', request: { file_containing_symbol: 'dev.sigstore.fulcio.v2.CA' } },
    { name: 'a method', request: { file_containing_symbol: 'dev.sigstore.fulcio.v2.CA.GetTrustBundle' } },
    { name: 'a message', request: { file_containing_symbol: 'dev.sigstore.fulcio.v2.Credentials' } },
    { name: 'an enum', request: { file_containing_symbol: 'dev.sigstore.fulcio.v2.PublicKeyAlgorithm' } },
    { name: 'the file’s name', request: { file_by_filename: 'dev_sigstore_fulcio_v2.proto' } },
  ])('finds the file by $name', ({ request }) => {
    expect(filesIn(ask(request)).map(({ name }) => name)).toEqual(['dev_sigstore_fulcio_v2.proto']);
  });

  test.each([
    { name: 'an unknown symbol', request: { file_containing_symbol: 'no.such.Thing' }, code: 5 },
    { name: 'an empty symbol', request: { file_containing_symbol: '' }, code: 5 },
    { name: 'an unknown file', request: { file_by_filename: '__proto__' }, code: 5 },
    { name: 'an extension', request: { file_containing_extension: {} }, code: 5 },
    { name: 'the extensions of an unknown type', request: { all_extension_numbers_of_type: 'x' }, code: 5 },
    { name: 'nothing', request: {}, code: 3 },
  ])('answers $name with an error and goes on', ({ request, code }) => {
    expect(ask(request)).toMatchObject({ error_response: { error_code: code } });
  });

  test('says that a type has no extensions', () => {
    const type = 'dev.sigstore.fulcio.v2.Credentials';
    expect(ask({ all_extension_numbers_of_type: type })).toEqual({
      all_extension_numbers_response: { base_type_name: type, extension_number: [] },
    });
  });
});

test('reflection describes names, numbers, JSON names, oneofs, enums, maps and streams', () => {
  const fileOf = (symbol: string) => filesIn(ask({ file_containing_symbol: symbol }))[0];

  expect(fileOf('dev.sigstore.fulcio.v2.CA')).toMatchObject({
    syntax: 'proto3',
    messageType: expect.arrayContaining([
      {
        name: 'CreateSigningCertificateRequest',
        field: [
          expect.objectContaining({ name: 'credentials', number: 1, jsonName: 'credentials', type: 'TYPE_MESSAGE' }),
          expect.objectContaining({
            name: 'public_key_request',
            number: 2,
            jsonName: 'publicKeyRequest',
            oneofIndex: 0,
          }),
          expect.objectContaining({
            name: 'certificate_signing_request',
            number: 3,
            type: 'TYPE_BYTES',
            oneofIndex: 0,
          }),
        ],
        oneofDecl: [{ name: 'key' }],
      },
    ]),
    enumType: [{ name: 'PublicKeyAlgorithm', value: expect.arrayContaining([{ name: 'ECDSA', number: 2 }]) }],
  });
  expect(fileOf('google.rpc.ErrorInfo')?.messageType[0]?.nestedType).toEqual([
    expect.objectContaining({ name: 'MetadataEntry', options: { mapEntry: true } }),
  ]);
  expect(fileOf('grpc.health.v1.Health')?.service?.[0]?.method).toContainEqual(
    expect.objectContaining({ name: 'Watch', serverStreaming: true }),
  );
});

test('reflection does not put fields outside a oneof into one', () => {
  const [file] = filesIn(ask({ file_containing_symbol: 'dev.sigstore.fulcio.v2.OIDCIssuer' }));
  const message = file?.messageType.find(({ name }) => name === 'OIDCIssuer');

  const inOneof = message?.field?.filter(({ oneofIndex }) => oneofIndex !== undefined).map(({ name }) => name);
  expect(inOneof).toEqual(['issuer_url', 'wildcard_issuer_url']);
});

test.each(['v1', 'v1alpha'])('reflection %s answers one question after the other on one stream', async (version) => {
  const { port } = await serve();
  const service = reflectionServices[version === 'v1' ? 0 : 1];
  const { path, requestSerialize, responseDeserialize } = methodOf(service, 'ServerReflectionInfo');
  expect(path).toContain(`grpc.reflection.${version}.`);
  const stream = connect(port).makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata());
  const count = 200;

  for (let index = 0; index < count; index++) stream.write({ host: `${index}`, file_containing_symbol: 'no.Thing' });
  stream.end();
  const answers: object[] = [];
  for await (const message of stream) answers.push(message);

  expect(answers).toHaveLength(count);
  expect(answers[7]).toMatchObject({
    valid_host: '7',
    original_request: { host: '7' },
    error_response: { error_code: 5 },
  });
});

interface FileJson {
  readonly name: string;
  readonly messageType: readonly {
    readonly name: string;
    readonly field?: readonly { readonly name: string; readonly oneofIndex?: number }[];
    readonly nestedType?: readonly object[];
  }[];
  readonly service?: readonly { readonly method: readonly object[] }[];
}

/** The files of an answer, decoded with the whole of descriptor.proto, which protobufjs brings along. */
function filesIn(found: Record<string, unknown>): FileJson[] {
  const response = found.file_descriptor_response as { file_descriptor_proto: Buffer[] } | undefined;
  const files = response?.file_descriptor_proto ?? [];
  return files.map((file) => descriptor.FileDescriptorProto.decode(file).toJSON() as unknown as FileJson);
}
