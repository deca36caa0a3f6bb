"""TorchServe over gRPC, against protobuf's own classes for the messages of its ``inference.proto``."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocols.torchserve_grpc import TorchServeGrpc
from loadgen.wire.base import Reply
from nightbench.model import DType, TensorSpec
from nightbench.samples import Outcome
from nightbench.server import Endpoint, Protocol
from tests.loadgen.h2_talk import HELLO, good

INPUTS = (TensorSpec("x", DType.FP32, (3,)), TensorSpec("ids", DType.INT64, (2,)))
OUTPUTS = (TensorSpec("y", DType.FP32, (4,)),)


def _declared() -> tuple[Any, Any]:
    """PredictionsRequest and PredictionResponse."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package="ts", syntax="proto3")
    optional = kind.LABEL_OPTIONAL
    request = file.message_type.add(name="PredictionsRequest")
    for number, name in ((1, "model_name"), (2, "model_version"), (4, "sequence_id")):
        request.field.add(name=name, number=number, type=kind.TYPE_STRING, label=optional)
    entry = request.nested_type.add(name="InputEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kind.TYPE_STRING, label=optional)
    entry.field.add(name="value", number=2, type=kind.TYPE_BYTES, label=optional)
    request.field.add(
        name="input",
        number=3,
        type=kind.TYPE_MESSAGE,
        type_name=".ts.PredictionsRequest.InputEntry",
        label=kind.LABEL_REPEATED,
    )
    response = file.message_type.add(name="PredictionResponse")
    response.field.add(name="prediction", number=1, type=kind.TYPE_BYTES, label=optional)
    response.field.add(name="sequence_id", number=2, type=kind.TYPE_STRING, label=optional)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"ts.{name}") for name in ("PredictionsRequest", "PredictionResponse"))
    first, second = map(message_factory.GetMessageClass, found)
    return first, second


REQUEST, RESPONSE = _declared()


def codec(batch: int, model: str = "m") -> TorchServeGrpc:
    return TorchServeGrpc(Endpoint(Protocol.TORCHSERVE_GRPC, "127.0.0.1", 1, model), INPUTS, OUTPUTS, batch)


@given(model=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), batch=st.integers(1, 300))
def test_protobuf_reads_requests_as_they_were_meant(model: str, batch: int) -> None:
    x = np.random.default_rng(batch).standard_normal((batch, 3)).astype("<f4")
    ids = np.arange(2 * batch, dtype="<i8").reshape(batch, 2)
    prepared = codec(batch, model).prepare({"ids": ids, "x": x})
    assert dict(prepared.headers)[b":path"] == b"/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
    got = REQUEST.FromString(prepared.message[5:])
    assert got.model_name == model
    assert dict(got.input) == {"body": x.tobytes() + ids.tobytes(), "X-Batch": str(batch).encode()}


@given(batch=st.integers(1, 50), sequence=st.text(max_size=5))
def test_answers_of_protobuf_are_read(batch: int, sequence: str) -> None:
    y = np.random.default_rng(batch).standard_normal((batch, 4)).astype("<f4")
    body = RESPONSE(prediction=y.tobytes(), sequence_id=sequence).SerializeToString()
    np.testing.assert_array_equal(codec(batch).decode(body)["y"], y, strict=True)


def test_an_empty_prediction_is_no_answer() -> None:
    with pytest.raises(ValueError, match="the body has 0 bytes, not 16"):
        codec(1).decode(RESPONSE().SerializeToString())


def replies(outputs: tuple[TensorSpec, ...], *bodies: bytes) -> list[Reply | None]:
    """What the wire makes of answers that arrive whole, one after another on one connection."""
    asked = TorchServeGrpc(Endpoint(Protocol.TORCHSERVE_GRPC, "127.0.0.1", 1, "m"), INPUTS, outputs, 1)
    wire = asked.wire()
    request = asked.prepare({"x": np.zeros((1, 3), "<f4"), "ids": np.zeros((1, 2), "<i8")})
    found: list[Reply | None] = []
    for number, body in enumerate(bodies):
        wire.begin(request)
        wire.output()
        found.append(wire.feed((HELLO if number == 0 else b"") + good(2 * number + 1, body)))
    return found


def test_an_empty_prediction_is_a_failed_request() -> None:
    full = RESPONSE(prediction=bytes(16)).SerializeToString()
    empty = [RESPONSE().SerializeToString(), RESPONSE(sequence_id="7").SerializeToString(), b"\n\0"]
    first, *refused, last = replies(OUTPUTS, full, *empty, *empty, full)
    assert first == last == Reply(Outcome.OK, full)
    assert len(refused) == 6
    for reply in refused:
        assert reply is not None
        assert (reply.outcome, reply.body) == (Outcome.RPC_ERROR, b"")
        assert reply.detail.startswith("an empty prediction")


def test_an_empty_prediction_is_an_answer_where_outputs_have_no_bytes() -> None:
    assert replies((TensorSpec("y", DType.FP32, (0,)),), b"") == [Reply(Outcome.OK, b"")]


def test_what_is_no_message_is_left_to_the_verification() -> None:
    assert replies(OUTPUTS, b"\n\xff") == [Reply(Outcome.OK, b"\n\xff")]


@given(st.binary(max_size=64))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    with suppress(ValueError):
        assert codec(1).decode(body)["y"].shape == (1, 4)
