"""The floor: the model called directly, in the engine's own process, with the same clock and the same samples.

There is no wire here, so threads stand in for connections.
"""

import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.clock import now_ns, quiet
from loadgen.conclude import Stopwatch, conclude
from loadgen.job import Job, JobResult, Pacing
from loadgen.pool import Pool, rotation
from loadgen.protocols.base import Tensors
from loadgen.recorder import Recorder
from loadgen.rehearsal import calling, rehearse
from loadgen.schedule import LOOK_NS, Window, begin, ending
from loadgen.verify import HELD_BYTES, Keeper
from nightbench.errors import NightbenchError
from nightbench.load import ClosedLoop, EndedBy
from nightbench.parity import OutputParity
from nightbench.samples import Outcome
from nightbench.server import Endpoint

__all__ = ["Model", "load_model", "measure_in_process"]

Model = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


def load_model(endpoint: Endpoint) -> tuple[Model, int]:
    """The function that ``endpoint.module`` loads, and the nanoseconds it took.

    `NightbenchError` if there is no such module; what the module itself raises passes through.
    """
    if endpoint.module is None or endpoint.artifact is None:
        raise NightbenchError("an in-process endpoint needs a module and an artifact")
    spec = importlib.util.spec_from_file_location("served_model", endpoint.module)
    if spec is None or spec.loader is None or not Path(endpoint.module).is_file():
        raise NightbenchError(f"{endpoint.module}: there is no such Python file to load a model with")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    started = now_ns()
    spec.loader.exec_module(module)
    load = getattr(module, "load", None)
    if not callable(load):
        raise NightbenchError(f"{endpoint.module}: it does not define load(artifact, options, threads)")
    model: Model = load(str(endpoint.artifact), dict(endpoint.options), endpoint.threads)
    return model, now_ns() - started


def measure_in_process(job: Job, recorder: Recorder) -> JobResult:
    """Measure ``job`` by calling its model; ``timeout_s`` is judged after a call, which nothing can interrupt."""
    pool = Pool.read(job.pool, job.inputs, job.outputs)
    model, model_load_ns = load_model(job.endpoint)
    starts = rotation(pool, job.inputs, job.batch, job.seed)
    requests = [pool.request(start, job.batch) for start in starts]
    parity: tuple[OutputParity, ...] = ()
    if job.rehearse:
        parity = rehearse(calling(model), pool, job.outputs, job.batch, job.tolerance, classifier=job.classifier)
        wrong = next((each for each in parity if not each.passed), None)
        if wrong is not None:
            failed = JobResult.failed(f"output {wrong.output!r} {wrong.detail}")
            return replace(failed, parity=parity, model_load_ns=model_load_ns)
    keeper = Keeper.of(job)
    with quiet():
        window = begin(job, recorder)
        calls = _Calls(job, model, requests, recorder, keeper, window)
        watch = Stopwatch.start(window.start_ns)
        window = calls.run(_threads(job))
        watch = watch.stop()
    pacing = None if isinstance(job.load, ClosedLoop) else Pacing.SLEEP
    how = ending(job, recorder, window)
    result = conclude(job, recorder, keeper, _as_tensors, pool, starts, watch, how, calls.detail, pacing)
    return replace(result, model_load_ns=model_load_ns, rss_bytes=_rss_bytes(), parity=parity)


def _threads(job: Job) -> int:
    """An open loop has as many callers as its processors can run; more would only slow each other down."""
    if isinstance(job.load, ClosedLoop):
        return job.load.concurrency
    return max(1, len(os.sched_getaffinity(0)) // job.endpoint.threads)


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _as_tensors(answer: Mapping[str, NDArray[Any]]) -> Tensors:
    return answer


class _Calls:
    """The callers and what they share; the lock is held to take a row or to keep an answer, never in a call."""

    def __init__(
        self,
        job: Job,
        model: Model,
        requests: Sequence[Tensors],
        recorder: Recorder,
        keeper: Keeper,
        window: Window,
    ) -> None:
        self.detail = ""
        self._model = model
        self._requests = requests
        self._recorder = recorder
        self._keeper = keeper
        self._window = window
        self._timeout_ns = int(job.timeout_s * 1e9)
        self._lock = threading.Lock()
        self._given_up = False
        self._closed = isinstance(job.load, ClosedLoop)
        self._most = recorder.rows
        if self._closed:
            self._most = min(recorder.row_capacity, sys.maxsize if job.max_requests is None else job.max_requests)
        self._next = 0

    def run(self, callers: int) -> Window:
        """Return when every request has ended, or when the window is drained: the window as it was in the end."""
        threads = [threading.Thread(target=self._caller, daemon=True) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and (now := now_ns()) < self._window.drained_ns:
                self._heed_stop(now)
                thread.join(min(LOOK_NS, self._window.drained_ns - now) / 1e9)
        with self._lock:
            self._given_up = True
        return self._window

    def _heed_stop(self, now: int) -> None:
        """End the sending early if the caller asks for it, as `loadgen.loops` do."""
        stop = self._recorder.stop
        if stop is not None and stop.at_ns < self._window.end_ns:
            with self._lock:
                self._window = self._window.ended_by(stop)
                if not self._closed:
                    self._most = self._recorder.cut(max(now, stop.at_ns), 0)
        if self._window.by is EndedBy.OVER_SATURATED and now >= self._window.end_ns and not self._closed:
            with self._lock:
                self._most = min(self._most, self._next)

    def _take(self) -> int | None:
        """The next row, or ``None`` when there is none left. A row is due now, or later by its schedule."""
        with self._lock:
            if self._closed:
                now = now_ns()
                if now >= self._window.end_ns or self._recorder.rows >= self._most or self._given_up:
                    return None
                return self._recorder.take(now)
            if self._next >= self._most or self._given_up:
                return None
            self._next += 1
            return self._next - 1

    def _caller(self) -> None:
        while (row := self._take()) is not None and self._comes_due(row):
            self._call(row)

    def _comes_due(self, row: int) -> bool:
        """Wait until ``row`` is due; false if the schedule was cut before it meanwhile."""
        recorder = self._recorder
        while (wait_ns := recorder.intended_ns[row] - now_ns()) > 0 and row < recorder.rows:
            time.sleep(min(wait_ns, LOOK_NS) / 1e9)
        return row < recorder.rows

    def _call(self, row: int) -> None:
        request = self._requests[row % len(self._requests)]
        answer: Mapping[str, NDArray[Any]] | None = None
        detail = ""
        sent = self._recorder.intended_ns[row] if self._closed else now_ns()
        try:
            answer = self._model(request)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; that is the request's outcome
            detail = f"{type(error).__name__}: {error}"
        done = now_ns()
        outcome = Outcome.OK if answer is not None else Outcome.RPC_ERROR
        if done - sent > self._timeout_ns:
            outcome, detail = Outcome.TIMEOUT, "no answer in time"
        with self._lock:
            if not self._given_up:
                self._record(row, sent, done, outcome, answer or {})
                self.detail = self.detail or (f"{outcome.label}: {detail}" if detail else "")

    def _record(self, row: int, sent: int, done: int, outcome: Outcome, answer: Mapping[str, NDArray[Any]]) -> None:
        recorder = self._recorder
        size_bytes = sum(array.nbytes for array in answer.values())
        recorder.sent_ns[row] = sent
        recorder.first_byte_ns[row] = done
        recorder.response_bytes[row] = size_bytes
        recorder.outcome[row] = outcome
        recorder.done_ns[row] = done
        if outcome is Outcome.OK and self._keeper.wants_next():
            # A model may hand out the same buffer again.
            copies = {name: np.array(array) for name, array in answer.items()}
            self._keeper.keep(row, copies, size_bytes + HELD_BYTES)
