"""Before anything is timed: every input of the pool asked once, and how far the answers stand from the reference."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.pool import Pool
from loadgen.protocols import codec_for
from loadgen.protocols.base import Tensors
from loadgen.protocols.exchange import exchange
from nightbench.errors import NightbenchError
from nightbench.model import ModelSpec, TensorSpec, Tolerance
from nightbench.parity import OutputParity, compare_all, incomparable
from nightbench.samples import Outcome
from nightbench.server import Endpoint
from nightbench.stopping import Stopped, never

__all__ = ["Unanswered", "calling", "rehearse", "rehearse_server"]

_ENOUGH_S = 30.0
"""No further request is made after so long: a slow model is not asked about all of its inputs."""
_ANSWER_S = 60.0
"""The first request of its batch size may have to wait for a compiler."""
_ATTEMPTS = 2
"""A request that gets no answer is made once more: a lost connection is no wrong answer, and timing will tell of it."""


class Unanswered(NightbenchError):
    """A request that got no answer, and why."""


class Unreadable(Unanswered):
    """A request whose answer is none of this model's."""


def rehearse(
    ask: Callable[[Tensors], Tensors],
    pool: Pool,
    outputs: tuple[TensorSpec, ...],
    batch: int,
    tolerance: Tolerance,
    *,
    classifier: bool = False,
    language: bool = False,
    should_stop: Callable[[], bool] = never,
) -> tuple[OutputParity, ...]:
    """Ask for each item of ``pool``, ``batch`` at a time, the last request filled up with the first items.

    One result an output; it says so where time ended before all items were compared. A request that stays `Unanswered`
    fails them all. Raises `Stopped` soon after ``should_stop``
    turns true.
    """
    got: list[Tensors] = []
    want: list[Tensors] = []
    enough_s = time.monotonic() + _ENOUGH_S
    for start in range(0, pool.count, batch):
        if should_stop():
            raise Stopped("the comparison of answers was stopped")
        try:
            got.append(ask(pool.request(start, batch)))
        except Unanswered as error:
            return tuple(
                incomparable(
                    output.name,
                    batch,
                    f"cannot be had: {error}",
                    classes=classifier and not position,
                    answered=isinstance(error, Unreadable),
                )
                for position, output in enumerate(outputs)
            )
        want.append(pool.expected(start, batch))
        if time.monotonic() > enough_s:
            break
    found = compare_all(outputs, batch, got, want, tolerance, classifier=classifier, language=language)
    items = min(len(got) * batch, pool.count)
    short = f"only {items} of {pool.count} items were compared in {_ENOUGH_S:g} s" if items < pool.count else ""
    return tuple(replace(each, items=items, detail="; ".join(filter(None, (each.detail, short)))) for each in found)


def rehearse_server(
    endpoint: Endpoint,
    model: ModelSpec,
    pool: Pool,
    batch: int,
    tolerance: Tolerance,
    should_stop: Callable[[], bool] = never,
) -> tuple[OutputParity, ...]:
    """`rehearse` over the wire, one request after the other, each on a connection of its own."""
    with _asking(endpoint, model, batch) as ask:
        return rehearse(
            ask,
            pool,
            model.outputs,
            batch,
            tolerance,
            classifier=model.classifier,
            language=model.language,
            should_stop=should_stop,
        )


def calling(model: Callable[[Tensors], Mapping[str, NDArray[Any]]]) -> Callable[[Tensors], Tensors]:
    """Asks a model that this process hosts."""

    def ask(inputs: Tensors) -> Tensors:
        try:
            # It may hand out the same buffer again.
            return {name: np.array(array) for name, array in model(inputs).items()}
        except Exception as error:
            raise Unanswered(f"{type(error).__name__}: {error}") from error

    return ask


@contextmanager
def _asking(endpoint: Endpoint, model: ModelSpec, batch: int) -> Iterator[Callable[[Tensors], Tensors]]:
    codec = codec_for(endpoint, model.inputs, model.outputs, batch)

    def ask(inputs: Tensors) -> Tensors:
        try:
            request = codec.prepare(inputs)
            for _ in range(_ATTEMPTS):
                reply = exchange(codec.wire(), request, endpoint.host, endpoint.port, _ANSWER_S)
                if reply.outcome is Outcome.OK:
                    return codec.decode(reply.body)
        except (NightbenchError, OSError) as error:
            # Shared memory that the server does not take, or the machine does not have.
            raise Unanswered(str(error)) from error
        except ValueError as error:
            raise Unreadable(f"the answer cannot be read: {error}") from error
        raise Unanswered(f"{reply.outcome.label}: {reply.detail}")

    try:
        yield ask
    finally:
        codec.close()
