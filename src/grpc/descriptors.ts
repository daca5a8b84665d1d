import type { PackageDefinition } from '@grpc/proto-loader';
import { load, message, messageOf } from './proto.js';

/** What reflection knows: encoded google.protobuf.FileDescriptorProtos, one for each package. */
export interface Descriptors {
  /** Full names of the services. */
  readonly services: readonly string[];
  /** By the full name of a service, a message or a top-level enum. */
  readonly fileOfSymbol: ReadonlyMap<string, Buffer>;
  readonly fileOfName: ReadonlyMap<string, Buffer>;
}

/** The descriptors of loaded packages, complete enough for clients that build their messages from them. */
export function describe(packages: readonly PackageDefinition[]): Descriptors {
  const services: string[] = [];
  const fileOfSymbol = new Map<string, Buffer>();
  const fileOfName = new Map<string, Buffer>();
  for (const definitions of packages) {
    const [file] = Object.values(definitions).flatMap(filesOf);
    if (file === undefined) continue;
    const { name, bytes } = withJsonNames(file);
    fileOfName.set(name, bytes);
    for (const [symbol, definition] of Object.entries(definitions)) {
      fileOfSymbol.set(symbol, bytes);
      if (!isType(definition)) services.push(symbol);
    }
  }
  return { services, fileOfSymbol, fileOfName };
}

type Definition = PackageDefinition[string];
type TypeDefinition = Extract<Definition, { fileDescriptorProtos: Buffer[] }>;

function isType(definition: Definition): definition is TypeDefinition {
  return 'fileDescriptorProtos' in definition;
}

function filesOf(definition: Definition): readonly Buffer[] {
  return isType(definition) ? definition.fileDescriptorProtos : [];
}

/** As much of google/protobuf/descriptor.proto as protobufjs writes, and json_name. */
const fileDescriptor = messageOf(
  load(
    'google.protobuf',
    {
      FileDescriptorProto: message({
        name: [1, 'string'],
        package: [2, 'string'],
        message_type: [4, 'repeated DescriptorProto'],
        enum_type: [5, 'repeated EnumDescriptorProto'],
        service: [6, 'repeated ServiceDescriptorProto'],
        syntax: [12, 'string'],
      }),
      DescriptorProto: message({
        name: [1, 'string'],
        field: [2, 'repeated FieldDescriptorProto'],
        nested_type: [3, 'repeated DescriptorProto'],
        enum_type: [4, 'repeated EnumDescriptorProto'],
        options: [7, 'MessageOptions'],
        oneof_decl: [8, 'repeated NameOnly'],
      }),
      FieldDescriptorProto: message({
        name: [1, 'string'],
        number: [3, 'int32'],
        label: [4, 'int32'],
        type: [5, 'int32'],
        type_name: [6, 'string'],
        oneof_index: [9, 'int32'],
        json_name: [10, 'string'],
      }),
      NameOnly: message({ name: [1, 'string'] }),
      MessageOptions: message({ map_entry: [7, 'bool'] }),
      EnumDescriptorProto: message({ name: [1, 'string'], value: [2, 'repeated EnumValueDescriptorProto'] }),
      EnumValueDescriptorProto: message({ name: [1, 'string'], number: [2, 'int32'] }),
      ServiceDescriptorProto: message({ name: [1, 'string'], method: [2, 'repeated MethodDescriptorProto'] }),
      MethodDescriptorProto: message({
        name: [1, 'string'],
        input_type: [2, 'string'],
        output_type: [3, 'string'],
        client_streaming: [5, 'bool'],
        server_streaming: [6, 'bool'],
      }),
    },
    // An absent oneof_index is not index 0: defaults must not be filled in.
    { defaults: false },
  ),
  'google.protobuf.FileDescriptorProto',
);

interface MessageDescriptor {
  readonly field?: { readonly name: string; json_name?: string }[];
  readonly nested_type?: MessageDescriptor[];
}

/**
 * protobufjs leaves json_name out, which protoc never does, and grpcurl then writes fields as the proto has them and not
 * as JSON has them.
 */
function withJsonNames(file: Buffer): { name: string; bytes: Buffer } {
  const decoded = fileDescriptor.deserialize(file) as { name: string; message_type?: MessageDescriptor[] };
  nameFields(decoded.message_type);
  return { name: decoded.name, bytes: fileDescriptor.serialize(decoded) };
}

function nameFields(messages: readonly MessageDescriptor[] = []): void {
  for (const { field = [], nested_type } of messages) {
    for (const one of field)
      one.json_name = one.name.replace(/_([a-z])/g, (_all, letter: string) => letter.toUpperCase());
    nameFields(nested_type);
  }
}
