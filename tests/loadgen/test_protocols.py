"""The HTTP codecs: the bytes on the wire are the ones the servers are written against."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocols import codec_for
from loadgen.protocols.kserve_http import KServeHttp
from loadgen.protocols.post import post
from loadgen.protocols.raw_http import RawHttp
from loadgen.wire.http1 import request_bytes
from nightbench.errors import NightbenchError
from nightbench.model import DType, TensorSpec
from nightbench.server import Endpoint, Protocol

IDS = TensorSpec("ids", DType.INT64, (2,))
MASK = TensorSpec("mask", DType.UINT8, (1,))
ROWS = TensorSpec("rows", DType.FP32, (2, 2))
FLAG = TensorSpec("flag", DType.INT32, ())
TENSORS = {"mask": np.array([[7], [8]], "|u1"), "ids": np.array([[1, 2], [3, 4]], "<i8")}
ANSWER = struct.pack("<8f2i", *range(8), -1, -2)


def endpoint(protocol: Protocol) -> Endpoint:
    return Endpoint(protocol, "127.0.0.1", 8000, "m")


def raw() -> RawHttp:
    return RawHttp(endpoint(Protocol.RAW_HTTP), (IDS, MASK), (ROWS, FLAG), 2)


def kserve() -> KServeHttp:
    return KServeHttp(endpoint(Protocol.KSERVE_HTTP), (IDS, MASK), (ROWS, FLAG), 2)


def kserve_answer(**changes: object) -> bytes:
    rows = {"name": "rows", "datatype": "FP32", "shape": [2, 2, 2], "parameters": {"binary_data_size": 32}}
    flag = {"name": "flag", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}}
    return json.dumps({"model_name": "m", "outputs": [rows | changes, flag]}).encode() + ANSWER


def test_raw_bytes_are_little_endian_inputs_in_the_models_order() -> None:
    head, _, body = raw().prepare(TENSORS).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /v1/predict HTTP/1.1",
        b"Host: 127.0.0.1:8000",
        b"Content-Type: application/octet-stream",
        b"X-Batch: 2",
        b"Content-Length: 34",
    ]
    assert body == struct.pack("<4q2B", 1, 2, 3, 4, 7, 8)


def test_raw_answers_are_cut_into_outputs() -> None:
    outputs = raw().decode(ANSWER)
    assert outputs["rows"].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert outputs["flag"].tolist() == [-1, -2]
    for wrong in (b"", ANSWER[:-1], ANSWER + b"\0"):
        with pytest.raises(ValueError, match="not 40"):
            raw().decode(wrong)


def test_strided_inputs_are_sent_in_c_order() -> None:
    turned = {"mask": TENSORS["mask"], "ids": np.asfortranarray(TENSORS["ids"])}
    assert raw().prepare(turned) == raw().prepare(TENSORS)


def test_kserve_requests_describe_their_binary_parts() -> None:
    head, _, body = kserve().prepare(TENSORS).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v2/models/m/infer HTTP/1.1\r\n")
    size = int(head.split(b"Inference-Header-Content-Length: ")[1].split(b"\r\n")[0])
    described = json.loads(body[:size])
    assert body[size:] == struct.pack("<4q2B", 1, 2, 3, 4, 7, 8)
    assert described["inputs"] == [
        {"name": "ids", "shape": [2, 2], "datatype": "INT64", "parameters": {"binary_data_size": 32}},
        {"name": "mask", "shape": [2, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
    ]
    assert [output["name"] for output in described["outputs"]] == ["rows", "flag"]
    assert all(output["parameters"] == {"binary_data": True} for output in described["outputs"])


def test_kserve_answers_are_read_binary_or_json() -> None:
    outputs = kserve().decode(kserve_answer())
    assert outputs["rows"].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert outputs["flag"].tolist() == [-1, -2]
    plain = {"outputs": [{"name": "flag", "datatype": "INT32", "shape": [2], "data": [5, 6]}]}
    assert kserve().decode(json.dumps(plain).encode())["flag"].tolist() == [5, 6]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"outputs": 3}',
        b'{"outputs": [{"name": "rows"}]}',
        b"[" * 100_000,
        kserve_answer()[:-1],
        kserve_answer() + b"\0",
        kserve_answer(shape=[3, 2, 2]),
        kserve_answer(shape=[-1, 2, 2]),
        kserve_answer(shape="2"),
        kserve_answer(datatype="BYTES"),
        kserve_answer(parameters={"binary_data_size": -32}),
        kserve_answer(parameters={"binary_data_size": "32"}),
        kserve_answer(parameters=[]),
    ],
)
def test_kserve_answers_that_are_none_are_value_errors(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any words will do
        kserve().decode(body)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/models/m:predict", b"/v1/models/m:predict"),
        ("/p?q=a&r=%20", b"/p?q=a&r=%20"),
        ("/a b", b"/a%20b"),
    ],
)
def test_a_path_is_quoted_no_more_than_it_must_be(path: str, sent: bytes) -> None:
    """Strict servers know no ``%3Apredict``."""
    assert request_bytes(path, "h", 80, {}, b"").startswith(b"POST " + sent + b" HTTP/1.1\r\n")
    assert post(Endpoint(Protocol.RAW_HTTP, "h", 80), path, {}, b"") == request_bytes(path, "h", 80, {}, b"")


@given(st.binary(max_size=200))
def test_hostile_bodies_are_value_errors(body: bytes) -> None:
    for codec in (raw(), kserve()):
        try:
            codec.decode(body)
        except ValueError:
            continue


@pytest.mark.parametrize("protocol", [Protocol.RAW_HTTP, Protocol.KSERVE_HTTP, Protocol.KSERVE_GRPC], ids=str)
def test_every_wire_protocol_has_its_codec(protocol: Protocol) -> None:
    codec = codec_for(endpoint(protocol), (IDS, MASK), (ROWS, FLAG), 2)
    wire = codec.wire()
    wire.begin(codec.prepare(TENSORS))
    assert wire.output()


def test_in_process_has_no_wire() -> None:
    with pytest.raises(NightbenchError, match="no wire"):
        codec_for(endpoint(Protocol.IN_PROCESS), (IDS,), (ROWS,), 1)
