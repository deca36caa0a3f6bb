"""A ready-made answer is what its protocol's codec takes for the reference's outputs."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.null.pieces import read_pieces, write_pieces
from loadgen.null.replies import ready_answer
from loadgen.protocols import codec_for
from loadgen.protocols.base import Codec
from nightbench.errors import NightbenchError
from nightbench.model import DType, TensorSpec
from nightbench.samples import Outcome
from nightbench.server import Endpoint, Protocol

SHARED = (Protocol.KSERVE_HTTP_SHM, Protocol.KSERVE_GRPC_SHM)
TENSORS = [
    protocol
    for protocol in Protocol
    if protocol not in (Protocol.IN_PROCESS, Protocol.OPENAI, Protocol.OPAQUE_HTTP, *SHARED)
]


def codec(protocol: Protocol, outputs: tuple[TensorSpec, ...], batch: int) -> Codec:
    return codec_for(Endpoint(protocol, "127.0.0.1", 1, "m"), (), outputs, batch)


@pytest.mark.parametrize("protocol", TENSORS)
@given(
    specs=st.lists(st.tuples(st.sampled_from(DType), st.lists(st.integers(1, 3), max_size=3)), min_size=1, max_size=3),
    batch=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_its_codec_decodes_it(protocol: Protocol, specs: list[tuple[DType, list[int]]], batch: int, seed: int) -> None:
    outputs = tuple(TensorSpec(f"y{at}", dtype, tuple(shape)) for at, (dtype, shape) in enumerate(specs))
    random = np.random.default_rng(seed)
    # Small numbers, none of which begins with the bytes of a JSON bracket.
    tensors = {
        spec.name: np.ascontiguousarray(random.integers(0, 32, (batch, *spec.shape)), spec.dtype.numpy)
        for spec in outputs
    }
    answer = ready_answer(protocol, tensors, outputs, 0)
    (piece,) = answer.pieces
    body = piece.partition(b"\r\n\r\n")[2] if answer.speaks == "http1" else piece[5:]
    decoded = codec(protocol, outputs, batch).decode(body)
    assert decoded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(decoded[name], tensor, strict=True)


def test_a_streamed_answer_brings_its_tokens_one_by_one() -> None:
    answer = ready_answer(Protocol.OPENAI, {}, (), 7)
    wire = codec(Protocol.OPENAI, (), 1).wire()
    wire.begin(b"")
    parts, replies = [], []
    for piece in answer.pieces:
        replies.append(wire.feed(piece))
        parts.append(wire.parts)  # type: ignore[attr-defined]  # a streaming wire
    assert [parts[0], *parts[1:-1], parts[-1]] == [0, *([1] * 7), 0]
    assert [reply is None for reply in replies] == [True] * 8 + [False]
    assert replies[-1] is not None
    assert replies[-1].outcome is Outcome.OK
    assert wire.tokens == 7  # type: ignore[attr-defined]


def test_a_model_in_our_own_process_has_none() -> None:
    with pytest.raises(NightbenchError, match="in-process model has no null server"):
        ready_answer(Protocol.IN_PROCESS, {}, (), 0)


def test_what_json_has_no_words_for_is_one_sentence() -> None:
    spec = TensorSpec("y", DType.FP32, ())
    with pytest.raises(NightbenchError, match="the outputs cannot be written as json-http does"):
        ready_answer(Protocol.JSON_HTTP, {"y": np.array([np.nan], "<f4")}, (spec,), 0)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_pieces_come_back_from_their_file(pieces: list[bytes]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        write_pieces(path, pieces)
        assert read_pieces(path) == tuple(pieces)
        whole = path.read_bytes()
        if whole:
            path.write_bytes(whole[:-1])
            with pytest.raises(ValueError, match="ends in the middle of a piece"):
                read_pieces(path)
