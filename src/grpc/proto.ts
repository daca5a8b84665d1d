import type { ServiceDefinition } from '@grpc/grpc-js';
import { fromJSON, type Options, type PackageDefinition } from '@grpc/proto-loader';

/**
 * Protocol buffers written as tables: protobufjs's JSON form, so that no .proto file has to travel beside the compiled
 * code. Field names are the protos' own (snake_case), because reflection shows them to grpcurl.
 */

type Fields = Readonly<Record<string, readonly [id: number, type: string]>>;
type Oneofs = Readonly<Record<string, readonly string[]>>;

/** A message from a table of fields; a type that starts with `repeated ` is a list. */
export function message(table: Fields, oneofGroups: Oneofs = {}) {
  const fields = Object.entries(table).map(([name, [id, type]]) => {
    const repeated = type.startsWith('repeated ');
    return [name, repeated ? { rule: 'repeated', type: type.slice('repeated '.length), id } : { type, id }];
  });
  const oneofs = Object.entries(oneofGroups).map(([name, members]) => [name, { oneof: [...members] }]);
  return { fields: Object.fromEntries(fields), oneofs: Object.fromEntries(oneofs) };
}

/** A service from a table of methods. */
export function service(methods: object) {
  return { methods };
}

/** A root that holds `content` in the namespace `packageName`. */
function inPackage(packageName: string, content: object) {
  return packageName
    .split('.')
    .reverse()
    .reduce((nested, name) => ({ [name]: { nested } }), content as Record<string, object>);
}

/** Bytes come as Buffer, enums as numbers, absent fields as proto3's default (null for a message). */
const decoding: Options = { longs: String, defaults: true, arrays: true, objects: true };

/**
 * The entry type of a `map<string, valueType>`, to be nested in the map's message beside a repeated field of it. On the
 * wire that is what a map is, and protobufjs describes it right, which it does not do with its own maps.
 */
export function mapEntry(valueType: string) {
  return { ...message({ key: [1, 'string'], value: [2, valueType] }), options: { map_entry: true } };
}

/** Loads the messages, enums and services of one package. */
export function load(packageName: string, content: object, options: Options = decoding): PackageDefinition {
  return fromJSON({ nested: inPackage(packageName, content) }, options);
}

/** A loaded service by its full name. */
export function serviceOf(loaded: PackageDefinition, name: string): ServiceDefinition {
  return loaded[name] as unknown as ServiceDefinition;
}

/** A loaded message by its full name. */
export function messageOf(loaded: PackageDefinition, name: string): Codec {
  return loaded[name] as unknown as Codec;
}

/** Turns a message into its wire form and back; `deserialize` throws on bytes that are no such message. */
export interface Codec {
  serialize(value: object): Buffer;
  deserialize(bytes: Buffer): object;
}
