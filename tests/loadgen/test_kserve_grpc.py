"""KServe V2 over gRPC, against the protobuf classes and the service of Triton's own client."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype

from loadgen.protocols.base import Tensors
from loadgen.protocols.kserve_grpc import KServeGrpc
from loadgen.protocols.v2 import decode_response, encode_request
from loadgen.wire.base import Reply, Wire
from nightbench.model import DType, TensorSpec
from nightbench.samples import Outcome
from nightbench.server import Endpoint, Protocol

DTYPES = ("?", "<u1", "<u2", "<u4", "<u8", "<i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
TYPED = {
    "b1": "bool_contents",
    "i1": "int_contents",
    "i2": "int_contents",
    "i4": "int_contents",
    "i8": "int64_contents",
    "u1": "uint_contents",
    "u2": "uint_contents",
    "u4": "uint_contents",
    "u8": "uint64_contents",
    "f4": "fp32_contents",
    "f8": "fp64_contents",
}


def same(left: Tensors, right: Tensors) -> None:
    assert list(left) == list(right)
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert array.shape == right[name].shape
        np.testing.assert_array_equal(array, right[name])


# -- the messages


@given(model=NAMES, inputs=st.dictionaries(NAMES, ARRAYS, max_size=3), outputs=st.lists(NAMES, max_size=2))
def test_a_request_is_byte_for_byte_what_protobuf_writes(model: str, inputs: Tensors, outputs: list[str]) -> None:
    want = service_pb2.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        want.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        want.raw_input_contents.append(array.tobytes())
    for name in outputs:
        want.outputs.add(name=name)
    assert encode_request(model, inputs, outputs) == want.SerializeToString(deterministic=True)


def test_arrays_of_any_layout_are_sent_little_endian_in_c_order() -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    sent = service_pb2.ModelInferRequest.FromString(encode_request("m", {"x": array}))
    assert list(sent.inputs[0].shape) == [3, 2]
    assert sent.raw_input_contents[0] == np.ascontiguousarray(array, "<f4").tobytes()


def test_types_without_a_name_in_the_protocol_are_refused() -> None:
    with pytest.raises(ValueError, match="complex128"):
        encode_request("m", {"x": np.zeros(1, complex)})


def response(outputs: Tensors) -> service_pb2.ModelInferResponse:
    message = service_pb2.ModelInferResponse(model_name="m", model_version="1", id="7")
    message.parameters["triton_final_response"].bool_param = True
    for name, array in outputs.items():
        message.outputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
    return message


@given(outputs=st.dictionaries(NAMES, ARRAYS, max_size=3))
def test_raw_outputs_are_read_as_protobuf_wrote_them(outputs: Tensors) -> None:
    message = response(outputs)
    message.raw_output_contents.extend(array.tobytes() for array in outputs.values())
    same(decode_response(message.SerializeToString()), outputs)


@given(
    array=st.sampled_from(sorted(TYPED)).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, min_side=0, max_side=5))
    )
)
def test_typed_outputs_are_read_too(array: NDArray[Any]) -> None:
    message = response({"y": array})
    contents = message.outputs[0].contents
    getattr(contents, TYPED[array.dtype.str[1:]]).extend(array.ravel().tolist())
    same(decode_response(message.SerializeToString()), {"y": array})


def test_typed_contents_of_another_kind_than_announced_are_refused() -> None:
    message = response({"y": np.zeros(1, np.uint8)})
    message.outputs[0].contents.fp32_contents.append(1e30)
    with pytest.raises(ValueError, match="another kind than UINT8"):
        decode_response(message.SerializeToString())


def test_repeated_numbers_that_are_not_packed_are_read() -> None:
    """Proto2 writers and some hand-made servers write them one by one."""
    contents = b"\x35" + np.float32(1.5).tobytes() + b"\x35" + np.float32(-2).tobytes()
    tensor = b"\x0a\x01y" + b"\x12\x04FP32" + b"\x18\x02" + b"\x2a" + bytes([len(contents)]) + contents
    body = b"\x2a" + bytes([len(tensor)]) + tensor
    same(decode_response(body), {"y": np.array([1.5, -2], "<f4")})
    assert len(service_pb2.ModelInferResponse.FromString(body).outputs[0].contents.fp32_contents) == 2


def bad(datatype: str = "FP32", shape: tuple[int, ...] = (2,), raw: tuple[bytes, ...] = (bytes(8),)) -> bytes:
    message = service_pb2.ModelInferResponse(raw_output_contents=raw)
    message.outputs.add(name="y", datatype=datatype, shape=shape)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (bad(raw=(bytes(7),)), "7 bytes do not fill shape"),
        (bad(raw=()), "0 values do not fill shape"),
        (bad(raw=(b"", b"")), "1 outputs with 2 raw contents"),
        (bad(shape=(-2,)), "negative shape"),
        (bad(shape=(2**62, 2**62)), "do not fill shape"),
        (bad(datatype="BYTES"), "'BYTES' holds no numbers"),
        (bad() + bad(), "two outputs are named 'y'"),
        (bad()[:-1], "beyond its message"),
        (b"\x2b", "wire type 3"),
        (b"\x28\x01", "a number where bytes belong"),
        (b"\x80" * 11, "more than ten bytes"),
    ],
)
def test_broken_answers_are_a_value_error(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_response(body)


def readable(body: bytes) -> Tensors | None:
    try:
        return decode_response(body)
    except ValueError:
        return None


@settings(max_examples=300)
@given(body=st.binary(max_size=200))
def test_random_bytes_are_a_value_error_and_nothing_else(body: bytes) -> None:
    readable(body)


@settings(max_examples=300)
@given(
    outputs=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=2),
    raw=st.booleans(),
    edits=st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=3)), min_size=1, max_size=3),
)
def test_mutated_answers_are_a_value_error_and_nothing_else(
    outputs: Tensors, raw: bool, edits: list[tuple[int, bytes]]
) -> None:
    message = response(outputs)
    for tensor, array in zip(message.outputs, outputs.values(), strict=True):
        if raw:
            message.raw_output_contents.append(array.tobytes())
        else:
            tensor.contents.fp32_contents.extend([1.0] * min(array.size, 8))
    body = bytearray(message.SerializeToString())
    for at, patch in edits:
        start = at % len(body)
        body[start : start + len(patch)] = patch
    readable(bytes(body))


# -- the codec, against a real service


class Doubler(service_pb2_grpc.GRPCInferenceServiceServicer):
    """``y = 2 x``, and an error in words for any other model."""

    def ModelInfer(self, request, context):  # noqa: N802 - the service names its method so
        if request.model_name != "doubler":
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_name}")
        x = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(request.inputs[0].shape)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for wanted in request.outputs:
            answer.outputs.add(name=wanted.name, datatype="FP32", shape=x.shape)
            answer.raw_output_contents.append((2 * x).tobytes())
        return answer


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Doubler(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def codec(port: int, model: str = "doubler") -> KServeGrpc:
    endpoint = Endpoint(Protocol.KSERVE_GRPC, "127.0.0.1", port, model)
    spec = (3, 224, 224)
    return KServeGrpc(endpoint, (TensorSpec("x", DType.FP32, spec),), (TensorSpec("y", DType.FP32, spec),), batch=2)


def send(port: int, wire: Wire, asked: object) -> Reply:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        wire.begin(asked)
        while True:
            for piece in wire.output():
                connection.sendall(piece)
            data = connection.recv(2**18)
            reply = wire.feed(data) if data else wire.end()
            if reply is not None:
                return reply


def test_an_inference_travels_there_and_back(port: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype("<f4")
    kserve = codec(port)
    asked = kserve.prepare({"x": x})
    for _ in range(2):
        reply = send(port, kserve.wire(), asked)
        assert reply.outcome is Outcome.OK
        same(kserve.decode(reply.body), {"y": 2 * x})


def test_a_model_the_server_does_not_know_is_an_rpc_error(port: int) -> None:
    kserve = codec(port, "tripler")
    asked = kserve.prepare({"x": np.zeros((2, 3, 224, 224), "<f4")})
    assert send(port, kserve.wire(), asked) == Reply(Outcome.RPC_ERROR, b"", "NOT_FOUND: no model tripler")


def test_an_ipv6_host_stands_in_brackets() -> None:
    kserve = KServeGrpc(Endpoint(Protocol.KSERVE_GRPC, "::1", 8001, "m"), (), (), 1)
    assert (b":authority", b"[::1]:8001") in kserve.prepare({}).headers
