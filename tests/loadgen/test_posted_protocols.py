"""The HTTP codecs beside the baseline's: each speaks its server's dialect, and survives any answer."""

import json
from email import message_from_bytes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocols import codec_for
from loadgen.protocols.base import Codec
from nightbench.model import DType, TensorSpec
from nightbench.server import Endpoint, Protocol

IDS = TensorSpec("ids", DType.INT64, (2,))
MASK = TensorSpec("mask", DType.UINT8, (1,))
ROWS = TensorSpec("rows", DType.FP32, (2, 2))
FLAG = TensorSpec("flag", DType.INT32, ())
TENSORS = {"mask": np.array([[7], [8]], "|u1"), "ids": np.array([[1, 2], [3, 4]], "<i8")}
IDS_BYTES, MASK_BYTES = TENSORS["ids"].tobytes(), TENSORS["mask"].tobytes()

ROWS_JSON = [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
FLAG_JSON = [-1, -2]
COLUMNS = {"rows": ROWS_JSON, "flag": FLAG_JSON}
ITEMS = [{"rows": rows, "flag": flag} for rows, flag in zip(ROWS_JSON, FLAG_JSON, strict=True)]
BYTES = np.arange(8, dtype="<f4").tobytes() + np.array(FLAG_JSON, "<i4").tobytes()

ANSWERS = {
    Protocol.JSON_HTTP: [json.dumps({"outputs": COLUMNS}).encode(), json.dumps(COLUMNS).encode()],
    Protocol.KSERVE_V1: [json.dumps({"predictions": ITEMS}).encode()],
    Protocol.TFSERVING_REST: [json.dumps({"outputs": COLUMNS}).encode()],
    Protocol.TORCHSERVE: [BYTES, json.dumps(ITEMS).encode(), json.dumps(COLUMNS).encode()],
    Protocol.MULTIPART: [BYTES, json.dumps(COLUMNS).encode()],
}
"""Every way in which each protocol may answer with the same two tensors."""


def codec(
    protocol: Protocol,
    inputs: tuple[TensorSpec, ...] = (IDS, MASK),
    outputs: tuple[TensorSpec, ...] = (ROWS, FLAG),
    path: str = "",
) -> Codec:
    return codec_for(Endpoint(protocol, "127.0.0.1", 8000, "m", path=path), inputs, outputs, 2)


def sent(made: Codec) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of what a server would receive for `TENSORS`."""
    head, _, body = made.prepare(TENSORS).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    verb, path, version = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    assert (verb, version, headers["Host"]) == ("POST", "HTTP/1.1", "127.0.0.1:8000")
    assert int(headers["Content-Length"]) == len(body)
    return path, headers, body


def test_json_carries_tensors_by_name() -> None:
    path, headers, body = sent(codec(Protocol.JSON_HTTP))
    assert (path, headers["Content-Type"]) == ("/v1/predict", "application/json")
    assert json.loads(body) == {"inputs": {"ids": [[1, 2], [3, 4]], "mask": [[7], [8]]}}


def test_kserve_v1_carries_an_instance_for_each_item() -> None:
    path, _, body = sent(codec(Protocol.KSERVE_V1))
    assert path == "/v1/models/m:predict"
    assert json.loads(body) == {"instances": [{"ids": [1, 2], "mask": [7]}, {"ids": [3, 4], "mask": [8]}]}
    _, _, body = sent(codec(Protocol.KSERVE_V1, inputs=(IDS,)))
    assert json.loads(body) == {"instances": [[1, 2], [3, 4]]}


def test_tensorflow_serving_carries_columns() -> None:
    path, _, body = sent(codec(Protocol.TFSERVING_REST))
    assert path == "/v1/models/m:predict"
    assert json.loads(body) == {"inputs": {"ids": [[1, 2], [3, 4]], "mask": [[7], [8]]}}


def test_torchserve_carries_bare_bytes() -> None:
    path, headers, body = sent(codec(Protocol.TORCHSERVE))
    assert (path, headers["X-Batch"]) == ("/predictions/m", "2")
    assert body == IDS_BYTES + MASK_BYTES


def test_multipart_is_a_form_that_others_can_read() -> None:
    path, headers, body = sent(codec(Protocol.MULTIPART))
    form = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    parts = {part.get_filename(): part.get_payload(decode=True) for part in form.get_payload()}
    assert path == "/predict"
    assert parts == {"ids": IDS_BYTES, "mask": MASK_BYTES}


def test_a_part_never_holds_its_own_boundary() -> None:
    inputs = TensorSpec("x", DType.UINT8, (11,))
    content = np.frombuffer(b"nightbench-0nightbench-1", "|u1")[:22].reshape(2, 11)
    made = codec_for(Endpoint(Protocol.MULTIPART, "::1", 8000), (inputs,), (), 2).prepare({"x": content})
    boundary = made.split(b"boundary=")[1].split(b"\r\n")[0]
    assert boundary not in content.tobytes()
    assert made.count(boundary) == 3
    assert b"Host: [::1]:8000\r\n" in made


@pytest.mark.parametrize("protocol", ANSWERS, ids=str)
def test_the_endpoints_own_path_wins(protocol: Protocol) -> None:
    assert sent(codec(protocol, path="/a b/m:go?x=1&y=%20"))[0] == "/a%20b/m:go?x=1&y=%20"


@pytest.mark.parametrize(("protocol", "body"), [(p, body) for p, bodies in ANSWERS.items() for body in bodies])
def test_answers_become_the_tensors_they_say(protocol: Protocol, body: bytes) -> None:
    outputs = codec(protocol).decode(body)
    assert outputs["rows"].tolist() == ROWS_JSON
    assert outputs["flag"].tolist() == FLAG_JSON
    assert (outputs["rows"].dtype, outputs["flag"].dtype) == (np.dtype("<f4"), np.dtype("<i4"))


@pytest.mark.parametrize(
    ("protocol", "answer"),
    [
        (Protocol.JSON_HTTP, {"outputs": FLAG_JSON}),
        (Protocol.KSERVE_V1, {"predictions": FLAG_JSON}),
        (Protocol.TFSERVING_REST, {"outputs": FLAG_JSON}),
        (Protocol.TORCHSERVE, FLAG_JSON),
        (Protocol.MULTIPART, FLAG_JSON),
    ],
    ids=str,
)
def test_the_only_output_needs_no_name(protocol: Protocol, answer: object) -> None:
    outputs = codec(protocol, outputs=(FLAG,)).decode(json.dumps(answer).encode())
    assert outputs["flag"].tolist() == FLAG_JSON


def test_bytes_that_begin_like_json_are_still_bytes() -> None:
    spec = TensorSpec("x", DType.UINT8, (2,))
    for body in (b"[abc", b"{}[]", b"[1, "):
        assert codec(Protocol.TORCHSERVE, outputs=(spec,)).decode(body)["x"].tobytes() == body


def test_numbers_that_json_has_no_words_for_are_not_sent() -> None:
    spec = TensorSpec("x", DType.FP32, ())
    for protocol in (Protocol.JSON_HTTP, Protocol.KSERVE_V1, Protocol.TFSERVING_REST):
        with pytest.raises(ValueError, match="JSON"):
            codec(protocol, inputs=(spec,)).prepare({"x": np.array([1, np.nan], "<f4")})


HOSTILE = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b"3",
    b'"rows"',
    b"[" * 100_000,
    b'{"outputs": ' + b"[" * 100_000,
    b"9" * 5000,
    BYTES[:-1],
    *(
        json.dumps({key: value}).encode()
        for key in ("outputs", "predictions")
        for value in (
            None,
            3,
            [],
            {},
            [None, None],
            [{}, {}],
            ITEMS[:1],
            [ITEMS[0], FLAG_JSON],
            COLUMNS | {"flag": [1]},
            COLUMNS | {"flag": ["a", "b"]},
            COLUMNS | {"flag": [10**400, 0]},
            COLUMNS | {"flag": [None, {}]},
            COLUMNS | {"rows": [[[0, 1], [2]], [[4, 5], [6, 7]]]},
        )
    ),
]


@pytest.mark.parametrize("protocol", ANSWERS, ids=str)
@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_answers_that_are_none_are_value_errors(protocol: Protocol, body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any words will do
        codec(protocol).decode(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rows", "flag", "x"]), inner),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode())), JSON)
def test_hostile_bodies_are_value_errors(body: bytes, value: object) -> None:
    wrapped = json.dumps({"outputs": value, "predictions": value}).encode()
    for protocol in ANSWERS:
        for hostile in (body, wrapped):
            try:
                codec(protocol).decode(hostile)
            except ValueError:
                continue


def test_opaque_bodies_are_posted_as_they_are() -> None:
    endpoint = Endpoint(
        Protocol.OPAQUE_HTTP, "localhost", 80, path="/p?q=1", headers={"Content-Type": "text/plain", "X-A": "b"}
    )
    made = codec_for(endpoint, (TensorSpec("body", DType.UINT8, (4,)),), (), 1)
    assert made.prepare({"body": np.frombuffer(b"\0\r\n\xff", np.uint8)[np.newaxis]}) == (
        b"POST /p?q=1 HTTP/1.1\r\nHost: localhost:80\r\nContent-Type: text/plain\r\nX-A: b\r\n"
        b"Content-Length: 4\r\n\r\n\0\r\n\xff"
    )
    assert made.decode(b"anything") == {}


TESTED_APART = {Protocol.KSERVE_HTTP_SHM, Protocol.KSERVE_GRPC_SHM, Protocol.OPENAI}
"""Two register shared memory with a server while they prepare a request, one takes JSON and no tensors."""


@pytest.mark.parametrize("protocol", sorted(set(Protocol) - {Protocol.IN_PROCESS} - TESTED_APART), ids=str)
def test_every_protocol_over_a_wire_has_a_codec(protocol: Protocol) -> None:
    made = codec(protocol, inputs=(IDS,))
    wire = made.wire()
    wire.begin(made.prepare({"ids": TENSORS["ids"]}))
    assert b"".join(wire.output())
    made.close()
