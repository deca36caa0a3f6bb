"""The floor: a model module loaded and called by the engine itself."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadgen.engine import measure, run
from loadgen.job import Job, JobResult
from loadgen.recorder import Stop
from loadgen.run import run_job
from loadgen.schedule import reserve
from nightbench.errors import NightbenchError
from nightbench.load import Arrival, ClosedLoop, EndedBy, OpenLoop
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


def test_without_outputs_nothing_is_compared(model, job: JobMaker) -> None:
    result = run(job(0, endpoint=model(), max_requests=3, verify_every=1, outputs=()))
    assert (result.verified, result.outcomes) == (0, {"ok": 3})


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


def stopped(job: Job, cause: EndedBy) -> tuple[JobResult, Samples, Stop]:
    """Measure, and ask for an end 0.4 s after the start."""
    (recorder,) = reserve(job)
    recorder.close()
    asked: list[Stop] = []

    def ask() -> None:
        while not recorder.started_ns:
            time.sleep(0.001)
        asked.append(Stop(recorder.started_ns + 400_000_000, cause))
        recorder.ask_to_stop(asked[0])

    thread = threading.Thread(target=ask)
    thread.start()
    result = measure(job, recorder)
    thread.join()
    return result, recorder.samples(), asked[0]


@pytest.mark.parametrize("load", [ClosedLoop(1), OpenLoop(100.0, Arrival.CONSTANT)])
@pytest.mark.parametrize("cause", [EndedBy.PRECISION, EndedBy.OVER_SATURATED])
def test_a_stop_ends_the_calls_and_no_row_is_left_over(
    model, job: JobMaker, load: ClosedLoop | OpenLoop, cause: EndedBy, monkeypatch
) -> None:
    """The model takes five times as long as there is between two arrivals."""
    monkeypatch.setattr("loadgen.in_process._threads", lambda _job: 1)
    result, samples, stop = stopped(job(0, endpoint=model(sleep_s=0.05), load=load, duration_s=60.0), cause)
    assert (result.ended_by, result.sending_ended_ns) == (cause, stop.at_ns)
    assert samples.intended_ns[-1] <= stop.at_ns
    assert (samples.done_ns >= samples.intended_ns).all()
    given_up = set(result.outcomes) - {"ok"}
    assert given_up == ({"unfinished"} if cause is EndedBy.OVER_SATURATED and isinstance(load, OpenLoop) else set())


def test_callers_that_wait_for_what_a_stop_cut_off_do_not_hold_it_up(model, job: JobMaker, monkeypatch) -> None:
    monkeypatch.setattr("loadgen.in_process._threads", lambda _job: 3)
    load = OpenLoop(0.1, Arrival.CONSTANT)
    one = job(0, endpoint=model(), load=load, duration_s=600.0, timeout_s=300.0)
    result, _, _ = stopped(one, EndedBy.PRECISION)
    assert (result.ended_by, result.outcomes) == (EndedBy.PRECISION, {"ok": 1})


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
