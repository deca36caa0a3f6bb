"""Run the load engine as the processes of its own that it is, look at it meanwhile, and never be left waiting."""

import select
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from loadgen.check import check_job
from loadgen.clock import monotonic_of, now_ns, wall_error_ns
from loadgen.glimpse import Glimpse, LiveView
from loadgen.job import Job, JobResult
from loadgen.looks import Looks
from loadgen.process import EngineProcess, link_packages
from loadgen.recorder import Phase, Recorder, Stop
from loadgen.schedule import LEAD_NS, STOP_LEAD_NS, reserve
from loadgen.shares import combined, split
from nightbench.errors import NightbenchError
from nightbench.load import EndedBy
from nightbench.samples import save_merged
from nightbench.server import Protocol
from nightbench.stopping import Stopped, never

__all__ = ["Glimpse", "run_job"]

_POLL_S = 0.2
_GATHER_POLL_S = 0.02
"""While shares wait for each other."""
_START_S = 60.0
"""To start, prepare and verify: generous, because it only ends engines that hang."""
_MODEL_LOAD_S = 300.0
_SHARING_MEMORY = (Protocol.KSERVE_HTTP_SHM, Protocol.KSERVE_GRPC_SHM)
_LATE = "the load engine did not end in time and was killed"


def _unheard(_: int) -> None:
    pass


def run_job(
    job: Job,
    should_stop: Callable[[], bool] = never,
    env: Mapping[str, str] | None = None,
    on_start: Callable[[int], None] = _unheard,
    workdir_root: Path | None = None,
    watch: Callable[[Glimpse], None] | None = None,
) -> JobResult:
    """Measure ``job`` in ``job.workers`` fresh processes, save its samples, and say how it went.

    ``on_start`` is told the id of each process; ``watch`` is shown a `Glimpse` five times a second while requests are
    sent. The engines run under ``job.endpoint.command`` or this interpreter, with ``env`` added to a minimal
    environment. `Stopped` is raised soon after ``should_stop`` turns true, unless all engines ended meanwhile. An
    engine that dies, hangs past its deadline or cannot be started ends the others and is a result with ``error``; what
    was measured until then is saved all the same, for whoever wants to know why.

    Whatever happens, the engines' process groups are gone, and so is their temporary folder, which is made in
    ``workdir_root`` (``None`` is the system's). Only a SIGKILL of this process leaves the folder behind: hand a root
    that somebody cleans.
    """
    job = _with_absolute_paths(job)
    try:
        check_job(job)
        recorders = reserve(job)
    except NightbenchError as error:
        return JobResult.failed(str(error))
    except (OSError, MemoryError) as error:
        return JobResult.failed(f"no memory can be reserved for the samples: {error}")
    except Exception as error:  # noqa: BLE001 - one cell's schedule must not end a whole night
        return JobResult.failed(f"load {job.load.label} cannot be scheduled: {type(error).__name__}: {error}")
    with ExitStack() as stack:
        for recorder in recorders:
            stack.callback(recorder.close)
        try:
            folder = Path(stack.enter_context(_workdir(workdir_root)))
            link_packages(folder)
        except OSError as error:
            return JobResult.failed(f"the load engine has no folder to work in: {error}")
        result = _run(job, recorders, folder, env or {}, should_stop, on_start, watch)
    return _saved(job, recorders, result)


def _workdir(root: Path | None) -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(
        prefix="nightbench-engine-",
        dir=root and root.absolute(),
        # What a model wrote there a moment ago must not cost us the result.
        ignore_cleanup_errors=True,
    )


def _with_absolute_paths(job: Job) -> Job:
    """The engine has a working directory of its own."""
    endpoint = job.endpoint
    endpoint = replace(
        endpoint,
        module=endpoint.module and endpoint.module.absolute(),
        artifact=endpoint.artifact and endpoint.artifact.absolute(),
    )
    return replace(job, endpoint=endpoint, pool=job.pool.absolute(), samples=job.samples.absolute())


def _run(
    job: Job,
    recorders: Sequence[Recorder],
    workdir: Path,
    env: Mapping[str, str],
    should_stop: Callable[[], bool],
    on_start: Callable[[int], None],
    watch: Callable[[Glimpse], None] | None,
) -> JobResult:
    engines: list[EngineProcess] = []
    try:
        for part, recorder in zip(split(job, [recorder.rows for recorder in recorders]), recorders, strict=True):
            try:
                engine = EngineProcess(part, recorder, workdir, env)
            except OSError as error:
                return JobResult.failed(f"the load engine cannot be started: {error}")
            engines.append(engine)
            on_start(engine.pid)
        result = _wait(engines, _Supervision(job, recorders, watch), should_stop, _deadline(job))
        return result if job.part is None else replace(result, wall_error_ns=wall_error_ns())
    finally:
        for engine in engines:
            engine.end()
        if job.endpoint.protocol in _SHARING_MEMORY:
            from loadgen.protocols.regions import remove_orphans

            # One that was killed could not.
            remove_orphans()


def _deadline(job: Job) -> float:
    allowed_s = job.duration_s + job.timeout_s + _START_S
    if job.endpoint.protocol is Protocol.IN_PROCESS:
        allowed_s += _MODEL_LOAD_S
    if job.part is not None:
        allowed_s += max(0.0, (monotonic_of(job.part.start_at_ns) - now_ns()) / 1e9)
    return time.monotonic() + allowed_s


def _wait(
    engines: Sequence[EngineProcess],
    supervision: "_Supervision",
    should_stop: Callable[[], bool],
    deadline: float,
) -> JobResult:
    """Wait until all have ended, or the first one has failed.

    An engine that has ended is never given up, however long ``should_stop`` took to answer meanwhile.
    """
    results: dict[EngineProcess, JobResult] = {}
    running = list(engines)
    while running:
        exited = select.select([engine.exited for engine in running], [], [], supervision.poll_s)[0]
        if not exited:
            late = time.monotonic() > deadline
            stop = should_stop()
            supervision.look()
            exited = select.select([engine.exited for engine in running], [], [], 0)[0]
            if stop and not exited:
                raise Stopped("measuring was stopped")
            if (late or supervision.late) and not exited:
                return JobResult.failed(supervision.late or _LATE)
        for engine in [engine for engine in running if engine.exited in exited]:
            running.remove(engine)
            engine.end()
            results[engine] = engine.result()
            if results[engine].error is not None:
                return results[engine]
    return supervision.explained(combined([results[engine] for engine in engines]))


class _Supervision:
    """What the caller does for its engines while it waits: starts all shares at once, looks, and stops them early."""

    def __init__(self, job: Job, recorders: Sequence[Recorder], watch: Callable[[Glimpse], None] | None) -> None:
        self._job = job
        self._recorders = recorders
        self._watch = watch
        self._gathering = recorders[0].shares > 1
        self.late = ""
        """Why this machine's part of a load cannot begin together with the others'."""
        self._looks: Looks | None = None
        self._view: LiveView | None = None

    @property
    def poll_s(self) -> float:
        return _GATHER_POLL_S if self._gathering else _POLL_S

    def look(self) -> None:
        phases = {recorder.phase for recorder in self._recorders}
        if self._gathering and phases == {Phase.READY}:
            earliest_ns = now_ns() + LEAD_NS
            start_ns = earliest_ns if self._job.part is None else monotonic_of(self._job.part.start_at_ns)
            if start_ns < earliest_ns:
                self.late = f"ready {(earliest_ns - start_ns) / 1e9:.1f} s too late to begin with the other machines"
                return
            for recorder in self._recorders:
                recorder.agreed_start_ns = start_ns
            self._gathering = False
        elif Phase.RUNNING in phases and phases <= {Phase.RUNNING, Phase.OVER}:
            now = now_ns()
            if self._looks is None:
                self._looks = Looks(self._job, self._recorders)
            self._looks.look(now)
            self._end_together(now)
            if self._watch is not None:
                self._view = self._view or LiveView(self._recorders)
                self._watch(self._view.glimpse(now))

    def _end_together(self, now: int) -> None:
        """A share that is through with its part ends the others."""
        stop = next((stop for recorder in self._recorders if (stop := recorder.stop)), None)
        if stop is not None:
            for recorder in self._recorders:
                recorder.ask_to_stop(Stop(now + STOP_LEAD_NS, stop.cause))

    def explained(self, result: JobResult) -> JobResult:
        """``result`` with the reason of an early end."""
        if result.ended_by is EndedBy.OVER_SATURATED and self._looks is not None:
            # There was room when that was found: what ran short since was its consequence.
            return replace(result, why=self._looks.why, connections_short=False)
        return result


def _saved(job: Job, recorders: Sequence[Recorder], result: JobResult) -> JobResult:
    """Save what the rows hold; a failed run's as far as it came."""
    if result.error is not None:
        now = now_ns()
        for recorder in recorders:
            if recorder.started_ns:
                recorder.salvage(now)
        recorders = [recorder for recorder in recorders if recorder.started_ns]
    if not recorders:
        return result
    try:
        save_merged(
            job.samples, [recorder.samples() for recorder in recorders], [recorder.marks() for recorder in recorders]
        )
    except OSError as error:
        return result if result.error is not None else JobResult.failed(f"{type(error).__name__}: {error}")
    return result
