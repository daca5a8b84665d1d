import { type handleBidiStreamingCall, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { describe } from './descriptors.js';

/** grpc.reflection.v1.ServerReflectionRequest; of the oneof at most one member is set. */
export interface ReflectionRequest {
  readonly host: string;
  readonly file_by_filename?: string;
  readonly file_containing_symbol?: string;
  readonly file_containing_extension?: object;
  readonly all_extension_numbers_of_type?: string;
  readonly list_services?: string;
}

type Question = Exclude<keyof ReflectionRequest, 'host'>;

/** Server reflection, versions v1 and v1alpha alike, for the services and messages of `packages`. */
export function reflectionHandlers(packages: readonly PackageDefinition[]): UntypedServiceImplementation {
  const answer = createReflection(packages);
  const info: handleBidiStreamingCall<ReflectionRequest, object> = (call) => {
    call.on('data', (request: ReflectionRequest) => {
      const response = { valid_host: request.host, original_request: request, ...answer(request) };
      if (call.write(response)) return;
      // Answers are larger than questions: a client that does not read must not fill our memory.
      call.pause();
      call.once('drain', () => call.resume());
    });
    call.once('end', () => call.end());
  };
  return { ServerReflectionInfo: info };
}

/**
 * Answers one reflection request with a member of ServerReflectionResponse's oneof; what is not known is an
 * error_response, as the protocol has it.
 */
export function createReflection(packages: readonly PackageDefinition[]): (request: ReflectionRequest) => object {
  const { services, fileOfSymbol, fileOfName } = describe(packages);
  const file = (found: Buffer | undefined, what: string): object =>
    found === undefined ? notFound(what) : { file_descriptor_response: { file_descriptor_proto: [found] } };
  const answers: { readonly [Q in Question]-?: (asked: NonNullable<ReflectionRequest[Q]>) => object } = {
    list_services: () => ({ list_services_response: { service: services.map((name) => ({ name })) } }),
    file_by_filename: (name) => file(fileOfName.get(name), `no file "${name}"`),
    file_containing_symbol: (name) => file(lookUp(fileOfSymbol, name), `no symbol "${name}"`),
    file_containing_extension: () => notFound('no extensions here'),
    all_extension_numbers_of_type: (name) =>
      fileOfSymbol.has(name)
        ? { all_extension_numbers_response: { base_type_name: name, extension_number: [] } }
        : notFound(`no type "${name}"`),
  };
  return (request) => {
    for (const [question, reply] of Object.entries(answers)) {
      const asked = request[question as Question];
      if (asked !== undefined && asked !== null) return (reply as (asked: unknown) => object)(asked);
    }
    return errorResponse(status.INVALID_ARGUMENT, 'the request asks nothing that is known here');
  };
}

/** A symbol, or the message or service that it is a part of (a field, a nested type, a method). */
function lookUp(fileOfSymbol: ReadonlyMap<string, Buffer>, symbol: string): Buffer | undefined {
  return fileOfSymbol.get(symbol) ?? fileOfSymbol.get(symbol.slice(0, Math.max(symbol.lastIndexOf('.'), 0)));
}

function notFound(message: string): object {
  return errorResponse(status.NOT_FOUND, message);
}

function errorResponse(code: number, message: string): object {
  return { error_response: { error_code: code, error_message: message } };
}
