"""Messages about tensors in shared memory: they name the right places, and hostile answers are refused."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from loadgen.protocols import codec_for
from loadgen.protocols.kserve_grpc_shm import KServeGrpcShm
from loadgen.protocols.kserve_http_shm import KServeHttpShm
from nightbench.model import DType, TensorSpec
from nightbench.server import Endpoint, Protocol
from tests.loadgen.shm_talk import PROTOCOLS, X, Y


@given(at=st.integers(0, 2**40), other=st.integers(0, 2**40), size=st.integers(1, 2**31))
def test_every_tail_is_equally_long_and_names_its_places(at: int, other: int, size: int) -> None:
    outputs = (Y, TensorSpec("z", DType.INT64, ()))
    places = [("nightbench-1-shm-a", at, size), ("nightbench-1-shm-a", other, size)]
    zeros = [("nightbench-1-shm-a", 0, size)] * 2
    http = KServeHttpShm(Endpoint(PROTOCOLS[0]), (X,), outputs, 1)
    rpc = KServeGrpcShm(Endpoint(PROTOCOLS[1]), (X,), outputs, 1)
    for made in (http, rpc):
        assert len(made._tail(places)) == len(made._tail(zeros))
    said = json.loads(b'{"inputs":[]' + http._tail(places))["outputs"]
    assert [output["name"] for output in said] == ["y", "z"]
    assert [tuple(output["parameters"].values()) for output in said] == places
    read = service_pb2.ModelInferRequest.FromString(rpc._tail(places)).outputs
    assert [output.name for output in read] == ["y", "z"]
    assert [
        (
            output.parameters["shared_memory_region"].string_param,
            output.parameters["shared_memory_offset"].int64_param,
            output.parameters["shared_memory_byte_size"].int64_param,
        )
        for output in read
    ] == places


def answer(datatype: str = "FP32", shape: Sequence[int] = (1, 3), name: str = "y", raw: bytes = b"") -> bytes:
    message = service_pb2.ModelInferResponse(raw_output_contents=[raw])
    message.outputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(message.SerializeToString())


def spoken(**changes: object) -> bytes:
    return json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3]} | changes]}).encode()


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        *((PROTOCOLS[0], spoken(**changes)) for changes in (
            {"name": "z"},
            {"datatype": "FP16"},
            {"shape": [3, 1]},
            {"shape": 3},
            {"data": [1, 2, 3]},
            {"parameters": {"binary_data_size": 12}},
        )),
        (PROTOCOLS[0], b""),
        (PROTOCOLS[0], b"[" * 100_000),
        (PROTOCOLS[1], answer(name="z")),
        (PROTOCOLS[1], answer(datatype="FP16")),
        (PROTOCOLS[1], answer(shape=(3, 1))),
        (PROTOCOLS[1], answer(raw=bytes(12))),
        (PROTOCOLS[1], b""),
        (PROTOCOLS[1], b"\xff"),
    ],
)  # fmt: skip
def test_answers_about_something_else_are_value_errors(protocol: Protocol, message: bytes) -> None:
    made = codec_for(Endpoint(protocol), (X,), (Y,), 1)
    with pytest.raises(ValueError):  # noqa: PT011 - any words will do
        made.decode(bytes(64) + message)


@given(body=st.binary(max_size=200), message=st.binary(max_size=100))
def test_hostile_answers_are_value_errors(body: bytes, message: bytes) -> None:
    for protocol in PROTOCOLS:
        for outputs in ((Y,), ()):
            made = codec_for(Endpoint(protocol), (X,), outputs, 1)
            for hostile in (body, bytes(64) + spoken()[:-1] + message, bytes(64) + answer()[:-1] + message):
                try:
                    made.decode(hostile)
                except ValueError:
                    continue
