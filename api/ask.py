"""One input asked of several running servers, one after another: what each answers, and how soon."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from loadgen.protocols import codec_for
from loadgen.protocols.base import Tensors
from loadgen.protocols.exchange import exchange
from loadgen.verify import strays
from nightbench.errors import NightbenchError
from nightbench.model import ModelSpec
from nightbench.parity import scales
from nightbench.samples import Outcome
from nightbench.server import Endpoint

__all__ = ["Answer", "Output", "ask_all"]

TOTAL_S = 120
"""Somebody waits for the answer."""
_OK, _CANNOT_ASK = "ok", "cannot_ask"


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    """Of its little-endian elements in C order: equal for equal answers."""
    values: tuple[float | None, ...]
    """The first of them in C order; ``None`` for what is no finite number."""
    text: str | None = None
    """What a language model wrote."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one server made of the input."""

    server: str
    outcome: str
    """``ok``, or what went wrong: ``timeout``, ``refused``, ``http_5xx``, ``unreadable``, ``cannot_ask`` ..."""
    detail: str = ""
    """What went wrong, in words."""
    latencies_ns: tuple[int, ...] = ()
    """Of every time it was asked, each on a connection of its own: connecting is within. It is no measurement."""
    outputs: tuple[Output, ...] = ()
    """Of the last time."""
    agrees: bool | None = None
    """With the first server that answered, within the model's tolerance; ``None`` for that one, and for no answer."""
    difference: str = ""
    """How it does not agree."""


_Asked = tuple[Answer, Tensors | None]


def ask_all(
    model: ModelSpec,
    inputs: Tensors,
    endpoints: Mapping[str, Endpoint],
    *,
    repeats: int,
    timeout_s: float,
    values: int,
) -> list[Answer]:
    """Ask each server in turn, so that none is timed while another works; at most ``values`` of an output are kept.

    Whatever they do, it ends in `TOTAL_S`.
    """
    end_ns = time.monotonic_ns() + TOTAL_S * 10**9

    def patience_s() -> float:
        return min(timeout_s, (end_ns - time.monotonic_ns()) / 1e9)

    asked = [_ask(name, model, inputs, each, repeats, patience_s, values) for name, each in endpoints.items()]
    return _compared(model, asked)


def _ask(
    name: str,
    model: ModelSpec,
    inputs: Tensors,
    endpoint: Endpoint,
    repeats: int,
    patience_s: Callable[[], float],
    values: int,
) -> _Asked:
    batch = len(next(iter(inputs.values())))
    latencies: list[int] = []

    def failed(outcome: str, detail: str) -> _Asked:
        return Answer(name, outcome, detail, tuple(latencies)), None

    try:
        codec = codec_for(endpoint, model.inputs, model.outputs, batch)
    except (NightbenchError, OSError) as error:
        return failed(_CANNOT_ASK, str(error))
    with closing(codec):
        try:
            request = codec.prepare(inputs)
            for _ in range(repeats):
                wire, timeout_s = codec.wire(), patience_s()
                if timeout_s <= 0:
                    return failed(_CANNOT_ASK, f"the {TOTAL_S} s of the whole comparison were over")
                started_ns = time.monotonic_ns()
                reply = exchange(wire, request, endpoint.host, endpoint.port, timeout_s)
                latencies.append(time.monotonic_ns() - started_ns)
                if reply.outcome is not Outcome.OK:
                    return failed(reply.outcome.label, reply.detail)
        except (NightbenchError, OSError, ValueError) as error:
            # Shared memory that the server does not take, or NaN where the protocol has no word for it.
            return failed(_CANNOT_ASK, str(error))
        try:
            tensors = codec.decode(reply.body)
        except ValueError as error:
            return failed("unreadable", f"the answer cannot be read: {error}")
    outputs = tuple(_output(each, array, values, text=model.language) for each, array in tensors.items())
    return Answer(name, _OK, "", tuple(latencies), outputs), tensors


def _output(name: str, array: Any, values: int, *, text: bool) -> Output:
    little = np.ascontiguousarray(array)
    content = little.tobytes()
    shown = tuple(_number(value) for value in little.ravel()[:values].tolist())
    words = content.decode("utf-8", "replace") if text else None
    return Output(name, str(array.dtype), array.shape, sha256(content).hexdigest(), shown, words)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _compared(model: ModelSpec, asked: Sequence[_Asked]) -> list[Answer]:
    """Each answer beside the first there was."""
    first = next((tensors for _, tensors in asked if tensors is not None), None)
    return [
        answer if tensors is None or first is None or tensors is first else _beside(model, answer, tensors, first)
        for answer, tensors in asked
    ]


def _beside(model: ModelSpec, answer: Answer, tensors: Tensors, first: Tensors) -> Answer:
    if model.language:
        same = all(np.array_equal(tensors.get(name, ()), array) for name, array in first.items())
        return replace(answer, agrees=same, difference="" if same else "it is another text")
    parts = {spec.name: spec.parts for spec in model.outputs}
    sizes = {name: scales(array, parts.get(name, ())) for name, array in first.items()}
    why = strays(tensors, first, model.tolerance, sizes)
    return replace(answer, agrees=why is None, difference=why or "")
