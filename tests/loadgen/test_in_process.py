"""The floor: a model module loaded and called by the engine itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadgen.engine import run
from loadgen.job import Job
from loadgen.run import run_job
from nightbench.errors import NightbenchError
from nightbench.load import Arrival, ClosedLoop, OpenLoop
from nightbench.samples import Samples
from nightbench.server import Endpoint, Protocol

JobMaker = Callable[..., Job]

GOOD = """
import time

print("a banner on standard output")

def load(artifact, options, threads):
    assert isinstance(artifact, str) and threads == 1
    time.sleep(0.05)
    scale = options.get("scale", 2)
    calls = []

    def predict(inputs):
        calls.append(1)
        if options.get("raise_at") == len(calls):
            raise RuntimeError("out of memory")
        time.sleep(options.get("sleep_s", 0))
        return {"y": inputs["x"] * scale + 1}

    return predict
"""


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Endpoint]:
    module = tmp_path / "serve.py"
    module.write_text(GOOD)

    def make(**options: object) -> Endpoint:
        return Endpoint(
            Protocol.IN_PROCESS,
            module=module,
            artifact=tmp_path / "model.bin",
            options=options,  # type: ignore[arg-type]  # the test names them
        )

    return make


def test_a_closed_loop_calls_the_model_and_checks_it(model, job: JobMaker) -> None:
    result = run_job(job(0, endpoint=model(), load=ClosedLoop(3), max_requests=50, verify_every=1))
    assert result.error is None
    assert result.outcomes == {"ok": 50}
    assert (result.verified, result.wrong) == (50, 0)
    assert result.model_load_ns is not None
    assert result.model_load_ns >= 50_000_000
    assert result.rss_bytes is not None
    assert result.rss_bytes > 10_000_000
    samples = Samples.load(job(0).samples)
    assert (np.diff(samples.intended_ns) >= 0).all()
    assert (samples.sent_ns == samples.intended_ns).all()
    assert (samples.done_ns >= samples.sent_ns).all()
    assert (samples.response_bytes == 12).all()


def test_an_open_loop_counts_the_wait_of_a_slow_model(model, job: JobMaker, monkeypatch) -> None:
    monkeypatch.setattr("loadgen.in_process._threads", lambda _job: 1)
    load = OpenLoop(100.0, Arrival.CONSTANT)
    result = run(job(0, endpoint=model(sleep_s=0.02), load=load, duration_s=0.3))
    samples = Samples.load(job(0).samples)
    assert result.outcomes == {"ok": 30}
    assert samples.latency_ns[-1] >= 0.25e9
    assert samples.lag_ns[-1] >= 0.2e9
    assert samples.service_ns.min() >= 0.02e9


def test_wrong_raised_and_slow_calls_have_their_names(model, job: JobMaker) -> None:
    wrong = run(job(0, endpoint=model(scale=3), max_requests=4, verify_every=1))
    assert wrong.outcomes == {"wrong_output": 4}
    raised = run(job(0, endpoint=model(raise_at=2), max_requests=4, load=ClosedLoop(1)))
    assert raised.outcomes == {"ok": 3, "rpc_error": 1}
    assert raised.detail == "rpc_error: RuntimeError: out of memory"
    slow = run(job(0, endpoint=model(sleep_s=0.03), max_requests=2, timeout_s=0.01, load=ClosedLoop(1)))
    assert set(slow.outcomes) <= {"timeout", "unfinished"}


def test_a_call_that_hangs_is_unfinished_and_ends_the_run_all_the_same(model, job: JobMaker) -> None:
    hanging = job(0, endpoint=model(sleep_s=600), load=ClosedLoop(2), duration_s=0.1, timeout_s=0.2)
    result = run_job(hanging)
    assert result.error is None
    assert result.outcomes == {"unfinished": 2}


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("x = 1", "it does not define load"),
        ("def load(artifact, options, threads):\n    raise OSError('no weights')", "no weights"),
        ("import not_installed_here", "No module named 'not_installed_here'"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_load_is_an_error(model, job: JobMaker, source: str, error: str) -> None:
    endpoint = model()
    endpoint.module.write_text(source)
    result = run_job(job(0, endpoint=endpoint))
    assert result.error is not None
    assert error in result.error


def test_a_missing_module_is_named(model, job: JobMaker) -> None:
    endpoint = model()
    endpoint.module.unlink()
    with pytest.raises(NightbenchError, match="there is no such Python file"):
        run(job(0, endpoint=endpoint))
