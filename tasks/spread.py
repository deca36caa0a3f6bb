"""One load from several machines: what each does, and what whoever asked for it does meanwhile.

They meet in the database. All get ready, then all are told one time at which to begin, and each leaves what it has
seen. Who starts the machines' parts is not known here.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from db.errors import DatabaseDown
from db.spreads import SpreadPart, SpreadStore
from loadgen.codec_json import job_from_json, job_to_json, result_from_json, result_to_json
from loadgen.glimpse import Glimpse
from loadgen.job import Job, JobResult, Part
from loadgen.run import run_job
from loadgen.spread import Sent, parts_of, put_together
from nightbench.errors import NightbenchError
from nightbench.samples import Marks, Samples
from nightbench.stopping import Stopped, never

__all__ = ["Spreading", "send_part"]

T = TypeVar("T")

_POLL_S = 0.2
_START_LEAD_NS = 6_000_000_000
"""Between saying when to begin and beginning: for hearing of it, and for engines to start on a busy machine."""
_GATHER_S = 300.0
"""A machine whose last run lost its server keeps its slot for two minutes (`flows.turn`)."""
_MARGIN_S = 60.0
_OUTAGE_S = 300.0
"""So long a part waits for a database that does not answer."""


class Spreading:
    """Carries out jobs with other machines, as `loadgen.run.run_job` does with this one alone."""

    def __init__(self, store: SpreadStore, machines: int, start: Callable[[str, int], Callable[[], None]]) -> None:
        """``start`` has one machine take a part, given the load's id and the part's number; what it gives back is
        called once the load is over, to end what has not ended by itself."""
        self._store = store
        self._machines = machines
        self._start = start

    def __call__(
        self,
        job: Job,
        should_stop: Callable[[], bool] = never,
        *,
        on_start: Callable[[int], None] = lambda _: None,
        workdir_root: Path | None = None,
        watch: Callable[[Glimpse], None] | None = None,
    ) -> JobResult:
        """As `loadgen.run.run_job`, but that nothing is shown meanwhile: the rows are elsewhere.

        `UsageError` where so many cannot share ``job``, `NightbenchError` if a machine does not come, or does not come
        back.
        """
        del on_start, workdir_root, watch
        spread_id = secrets.token_hex(6)
        parts_of(job, self._machines, 0)
        written = json.loads(job_to_json(replace(job, stop_over_saturated=False)))
        self._store.begin_spread(spread_id, self._machines, written, job.pool.read_bytes())
        ends: list[Callable[[], None]] = []
        try:
            ends += [self._start(spread_id, machine) for machine in range(self._machines)]
            self._gather(spread_id, should_stop)
            self._store.start_spread(spread_id, time.time_ns() + _START_LEAD_NS)
            return self._put_together(job, self._await(spread_id, job, should_stop))
        finally:
            for end in ends:
                end()
            # What it came to is here; the rows of one that is forgotten go with the daily maintenance.
            with suppress(DatabaseDown):
                self._store.end_spread(spread_id)

    def _gather(self, spread_id: str, should_stop: Callable[[], bool]) -> None:
        found = self._until(lambda: self._all_there(spread_id), _GATHER_S, should_stop)
        if len(found) < self._machines:
            raise NightbenchError(
                f"machines: {len(found)} of {self._machines} came within {_GATHER_S:.0f} s; "
                "start `nightbench worker` on each, and see that none is busy"
            )
        hosts = [part.host for part in found.values()]
        if len(set(hosts)) < len(hosts):
            twice = next(host for host in hosts if hosts.count(host) > 1)
            raise NightbenchError(
                f"machines: {twice} took more than one part, and one machine is not several; start a worker on another"
            )

    def _all_there(self, spread_id: str) -> tuple[bool, dict[int, SpreadPart]]:
        parts = self._store.spread_parts(spread_id)
        return len(parts) == self._machines, parts

    def _await(self, spread_id: str, job: Job, should_stop: Callable[[], bool]) -> dict[int, SpreadPart]:
        def over() -> tuple[bool, dict[int, SpreadPart]]:
            parts = self._store.spread_parts(spread_id)
            return all(part.result is not None for part in parts.values()), parts

        allowed_s = _START_LEAD_NS / 1e9 + job.duration_s + job.timeout_s + _MARGIN_S
        parts = self._until(over, allowed_s, should_stop)
        lost = [part.host for part in parts.values() if part.result is None]
        if lost:
            raise NightbenchError(f"machines: nothing came back from {', '.join(lost)}; look at its worker's log")
        return self._store.spread_parts(spread_id, whole=True)

    def _until(
        self,
        look: Callable[[], tuple[bool, dict[int, SpreadPart]]],
        allowed_s: float,
        should_stop: Callable[[], bool],
    ) -> dict[int, SpreadPart]:
        """What ``look`` saw when it was satisfied, or last; a database that is away for a while costs nothing else."""
        deadline = time.monotonic() + allowed_s
        parts: dict[int, SpreadPart] = {}
        while True:
            try:
                done, parts = look()
            except DatabaseDown:
                done = False
            if done or time.monotonic() > deadline:
                return parts
            if should_stop():
                raise Stopped("measuring was stopped")
            time.sleep(_POLL_S)

    def _put_together(self, job: Job, parts: Mapping[int, SpreadPart]) -> JobResult:
        with TemporaryDirectory(prefix="nightbench-spread-") as folder:
            sent = [_read(parts[machine], Path(folder) / "part.npz") for machine in sorted(parts)]
        for each, (_, part) in zip(sent, sorted(parts.items()), strict=True):
            if each.result.error is not None:
                return JobResult.failed(f"on {part.host}: {each.result.error}")
        return put_together(sent, job.samples)


def send_part(
    store: SpreadStore, spread_id: str, machine: int, host: str, should_stop: Callable[[], bool] = never
) -> None:
    """Take part number ``machine`` of a load on the machine called ``host``.

    It gets ready, waits for the others, sends, and leaves what it saw. `NightbenchError` where nobody waits for it any
    more; `Stopped` when told to stop.
    """
    spread = _patiently(lambda: store.spread(spread_id))
    with TemporaryDirectory(prefix="nightbench-spread-") as name:
        folder = Path(name)
        job = replace(
            job_from_json(json.dumps(spread.job).encode()), pool=folder / "pool.npz", samples=folder / "samples.npz"
        )
        job.pool.write_bytes(spread.pool)
        _patiently(lambda: store.join_spread(spread_id, machine, host))
        start_at_ns = _told(store, spread_id, should_stop)
        result = run_job(
            replace(job, part=Part(machine, spread.machines, start_at_ns)), should_stop, workdir_root=folder
        )
        samples = job.samples.read_bytes() if job.samples.exists() else None
    told = json.loads(result_to_json(result))
    _patiently(lambda: store.put_part(spread_id, machine, told, samples))


def _told(store: SpreadStore, spread_id: str, should_stop: Callable[[], bool]) -> int:
    """When to begin. `NightbenchError` once the load is over without having begun, or nobody is there to say."""
    deadline = time.monotonic() + _GATHER_S + _MARGIN_S
    while time.monotonic() < deadline:
        with suppress(DatabaseDown):
            if (start_at_ns := store.spread(spread_id).start_at_ns) is not None:
                return start_at_ns
        if should_stop():
            raise Stopped("measuring was stopped")
        time.sleep(_POLL_S)
    raise NightbenchError(f"load {spread_id}: nobody said when to begin; whoever asked for it is gone")


def _patiently(call: Callable[[], T]) -> T:
    """What ``call`` gives, once the database answers it."""
    deadline = time.monotonic() + _OUTAGE_S
    while True:
        try:
            return call()
        except DatabaseDown:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)


def _read(part: SpreadPart, path: Path) -> Sent:
    result = result_from_json(json.dumps(part.result).encode())
    if part.samples is None:
        return Sent(result, Samples.empty())
    path.write_bytes(part.samples)
    return Sent(result, Samples.load(path), Marks.load(path))
