"""The whole pool, asked before timing: every item is compared, and what cannot be had is no success."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadgen.job import Job
from loadgen.pool import Pool
from loadgen.protocols.base import Tensors
from loadgen.rehearsal import Unanswered, calling, rehearse, rehearse_server
from loadgen.run import run_job
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance
from nightbench.parity import UNBOUNDED
from nightbench.server import Endpoint, Protocol
from nightbench.stopping import Stopped
from tests.loadgen.conftest import FakeServer

X = (TensorSpec("x", DType.FP32, (3,)),)
Y = (TensorSpec("y", DType.FP32, (3,)),)
EXACT = Tolerance(1e-6, 1e-6)
MODEL = ModelSpec("m", "toy", 1, X, Y, EXACT, classifier=True)

Serve = Callable[..., FakeServer]


@pytest.fixture
def items(pool: Path) -> Pool:
    return Pool.read(pool, X, Y)


def at(port: int) -> Endpoint:
    return Endpoint(Protocol.RAW_HTTP, "127.0.0.1", port, "m")


def asked(body: bytes) -> np.ndarray:
    return np.frombuffer(body, "<f4").reshape(-1, 3)


def said(answer: np.ndarray) -> bytes:
    body = answer.astype("<f4").tobytes()
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_every_item_is_asked_in_full_batches(items: Pool, batch: int) -> None:
    seen: list[np.ndarray] = []

    def ask(inputs: Tensors) -> Tensors:
        seen.append(inputs["x"])
        return {"y": inputs["x"] * 2 + 1}

    (result,) = rehearse(ask, items, Y, batch, EXACT, classifier=True)
    assert (result.passed, result.batch, result.top1_agreement) == (True, batch, 1.0)
    assert (result.items, result.detail, result.answered) == (5, "", True)
    assert {len(rows) for rows in seen} == {batch}
    assert {row.tobytes() for rows in seen for row in rows} == {row.tobytes() for row in items.inputs["x"]}


@pytest.mark.parametrize(("batch", "items"), [(1, 1), (2, 2), (8, 5)])
def test_what_time_cut_short_is_no_plain_pass(
    items: int, batch: int, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.rehearsal._ENOUGH_S", -1.0)
    (result,) = rehearse(lambda inputs: {"y": inputs["x"] * 2 + 1}, Pool.read(pool, X, Y), Y, batch, EXACT)
    assert (result.passed, result.items) == (True, items)
    assert result.detail == ("" if items == 5 else f"only {items} of 5 items were compared in -1 s")


def test_a_right_server_passes_over_the_wire(serve: Serve, items: Pool) -> None:
    (result,) = rehearse_server(at(serve().port), MODEL, items, 2, EXACT)
    assert result.passed
    assert result.max_abs < 1e-6


def test_one_wrong_item_is_found_and_has_figures(serve: Serve, items: Pool) -> None:
    odd = items.inputs["x"][3]

    def behave(_: int, body: bytes) -> bytes:
        rows = asked(body)
        return said(rows * 2 + 1 + (rows == odd).all(1, keepdims=True))

    (result,) = rehearse_server(at(serve(behave).port), MODEL, items, 1, EXACT)
    assert not result.passed
    assert result.max_abs == pytest.approx(1.0)
    assert result.rmse == pytest.approx(5**-0.5)
    assert "in 3 of 15 values" in result.detail


def test_a_connection_lost_once_is_no_wrong_answer(serve: Serve, items: Pool) -> None:
    def behave(number: int, body: bytes) -> bytes | str:
        return "reset" if number == 2 else said(asked(body) * 2 + 1)

    assert rehearse_server(at(serve(behave).port), MODEL, items, 1, EXACT)[0].passed


def test_no_answer_is_a_failure_that_says_why(serve: Serve, items: Pool) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull"
    (result,) = rehearse_server(at(serve(lambda *_: busy).port), MODEL, items, 1, EXACT)
    assert (result.passed, result.max_abs, result.top5_agreement) == (False, UNBOUNDED, 0.0)
    assert result.detail == "cannot be had: http_503: 503 Busy: full"
    assert (result.answered, result.items) == (False, 0)
    (result,) = rehearse_server(at(serve(lambda *_: said(np.zeros((1, 2)))).port), MODEL, items, 1, EXACT)
    assert result.detail == "cannot be had: the answer cannot be read: the body has 8 bytes, not 12"
    assert result.answered  # with something else


def test_nobody_there_is_a_failure_too(free_port: int, items: Pool) -> None:
    (result,) = rehearse_server(at(free_port), MODEL, items, 1, EXACT)
    assert result.detail == "cannot be had: refused: connection refused"


def test_it_ends_when_told_to_stop(serve: Serve, items: Pool) -> None:
    with pytest.raises(Stopped):
        rehearse_server(at(serve().port), MODEL, items, 1, EXACT, should_stop=lambda: True)


def test_a_model_in_this_process_may_reuse_its_buffer_and_may_raise(items: Pool) -> None:
    buffer = np.empty((1, 3), "<f4")

    def model(inputs: Tensors) -> dict[str, np.ndarray]:
        buffer[:] = inputs["x"] * 2 + 1
        return {"y": buffer}

    assert rehearse(calling(model), items, Y, 1, EXACT)[0].passed

    def broken(inputs: Tensors) -> dict[str, np.ndarray]:
        raise ZeroDivisionError("in the model")

    with pytest.raises(Unanswered, match="ZeroDivisionError: in the model"):
        calling(broken)(items.request(0, 1))


def hosted(folder: Path, source: str) -> Endpoint:
    module = folder / "serve.py"
    module.write_text(f"def load(artifact, options, threads):\n    return lambda inputs: {source}\n")
    return Endpoint(Protocol.IN_PROCESS, module=module, artifact=folder / "model.bin")


def test_the_engine_rehearses_the_model_it_hosts_and_then_times_it(job: Callable[..., Job], tmp_path: Path) -> None:
    endpoint = hosted(tmp_path, "{'y': inputs['x'] * 2 + 1}")
    result = run_job(job(0, endpoint=endpoint, batch=2, rehearse=True, max_requests=3))
    (parity,) = result.parity
    assert (result.error, result.requests) == (None, 3)
    assert (parity.passed, parity.batch, parity.top1_agreement) == (True, 2, None)


def test_the_engine_times_no_model_that_answers_wrongly(job: Callable[..., Job], tmp_path: Path) -> None:
    # Right alone, mixed up in a batch.
    endpoint = hosted(tmp_path, "{'y': inputs['x'][::-1] * 2 + 1}")
    alone = run_job(job(0, endpoint=endpoint, batch=1, rehearse=True, max_requests=3))
    assert (alone.error, alone.requests) == (None, 3)
    result = run_job(job(0, endpoint=endpoint, batch=2, rehearse=True, classifier=True, max_requests=3))
    (parity,) = result.parity
    assert result.requests == 0
    assert result.error == f"output 'y' {parity.detail}"
    assert not parity.passed
    assert parity.top1_agreement is not None
