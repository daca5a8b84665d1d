"""A gRPC client of the certificate authority that has no generated code: it asks the server what it speaks.

usage: client.py ADDRESS METHOD [--tls-root FILE] [--metadata KEY=VALUE]... [--timeout SECONDS]

METHOD is a unary method, such as dev.sigstore.fulcio.v2.CA/GetTrustBundle. The request comes as proto3 JSON on standard
input. On standard output: {"code", "message", "reason", "requestId", "answer"}; a call that fails is no failure here.
"""

import argparse
import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("method")
    parser.add_argument("--tls-root")
    parser.add_argument("--metadata", action="append", default=[])
    parser.add_argument("--timeout", type=float, default=20)
    return parser.parse_args()


def open_channel(address, tls_root):
    if tls_root is None:
        return grpc.insecure_channel(address)
    with open(tls_root, "rb") as file:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))


def error_info(error):
    """The google.rpc.ErrorInfo of a failed call; an empty one if it has none."""
    info = ErrorInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else []:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
    return info


def call(channel, options, request_json):
    service_name, method_name = options.method.split("/")
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName(service_name).methods_by_name[method_name]
    request = Parse(request_json, GetMessageClass(method.input_type)())
    answer_class = GetMessageClass(method.output_type)
    invoke = channel.unary_unary(
        f"/{options.method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer_class.FromString,
    )
    metadata = [tuple(pair.split("=", 1)) for pair in options.metadata]
    try:
        answer, finished = invoke.with_call(request, metadata=metadata, timeout=options.timeout)
    except grpc.RpcError as error:
        info = error_info(error)
        request_id = info.metadata.get("requestId", "")
        return {"code": error.code().name, "message": error.details(), "reason": info.reason, "requestId": request_id}
    request_id = dict(finished.initial_metadata()).get("x-request-id", "")
    return {"code": "OK", "message": "", "requestId": request_id, "answer": MessageToDict(answer)}


def main():
    options = arguments()
    with open_channel(options.address, options.tls_root) as channel:
        json.dump(call(channel, options, sys.stdin.read()), sys.stdout)


main()
