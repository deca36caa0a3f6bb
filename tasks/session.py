"""One run in progress: what every stage needs to know, and the one way to leave a record."""

import errno
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from db.errors import SpoolError
from db.spool import Spool
from launch.engine import Engine
from launch.workdir import default_root
from nightbench.catalog import Catalog
from nightbench.errors import NightbenchError
from nightbench.figures import Doubt, SearchFigures
from nightbench.ledger import Ledger
from nightbench.load import Goal, Load, Search
from nightbench.plan import Plan
from nightbench.record import CalibrationRecord, CanaryRecord, Record
from nightbench.search import search_open
from nightbench.server import Protocol, ServerSpec
from nightbench.settings import Settings
from nightbench.stopping import never
from nightbench.suite import Suite
from tasks import machine
from tasks.progress import Progress, Silent

if TYPE_CHECKING:
    from db.store import Store  # SQLAlchemy is not on every machine that measures

__all__ = ["CELL_BYTES", "Cancelled", "Known", "Peak", "Session", "new_run_id", "planned_name"]


CELL_BYTES = 64 * 1024 + 2 * 1024 * 1024
"""What one cell leaves: its line in the spool (histogram, telemetry, context: twice the largest seen), and compressed
columns, a row a request."""


_NO_ROOM_BYTES = 64 * 1024
"""Less than this is none: a line of the spool may still fit, and a cell's columns do not."""


class Cancelled(NightbenchError):
    """Somebody asked the run to stop; what is finished is kept, and `nightbench run --resume` does the rest."""

    exit_code = 130


def new_run_id(suite: str, now: datetime) -> str:
    """Sorts by time, says what ran, and is never given twice."""
    return f"{now:%Y%m%d-%H%M%S}-{suite}-{secrets.token_hex(2)}"


def planned_name(deployment_id: str) -> str:
    """The name of a deployment in the plan; made again in a resumed run it has a number besides."""
    return deployment_id.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Peak:
    """The throughput a search found, and what is doubtful about it."""

    rps: float
    doubts: tuple[Doubt, ...]

    @classmethod
    def of(cls, load: Load, search: SearchFigures) -> "Peak | None":
        """What ``search`` found, if it looked for a peak and found one."""
        if not isinstance(load, Search) or load.goal is not Goal.PEAK or not search.answer_rps.value > 0.0:
            return None
        return cls(search.answer_rps.value, tuple(search_open(search)))


@dataclass(slots=True)
class Known:
    """What the run found out and later cells need."""

    ceilings: dict[tuple[Protocol, str, int], CalibrationRecord] = field(default_factory=dict)
    """What the client itself reaches, by protocol, model and batch."""
    canaries: list[CalibrationRecord] = field(default_factory=list)
    work: list[CanaryRecord] = field(default_factory=list)
    """Fixed work of the rounds so far."""
    peaks: dict[tuple[str, Protocol, int], Peak] = field(default_factory=dict)
    """What searches for the peak found, by `planned_name` of the deployment, protocol and batch."""
    parity: dict[tuple[str, Protocol, int], str] = field(default_factory=dict)
    """What is wrong with the answers of a deployment, by its id, protocol and batch; empty where nothing is."""
    unanswered: set[tuple[str, Protocol, int]] = field(default_factory=set)
    """Those of ``parity`` that gave no answers, so that nothing is known of their numbers."""
    kits: dict[str, str] = field(default_factory=dict)
    """By server, the hash of what its deployments are made of."""


@dataclass(frozen=True, slots=True)
class Session:
    """The state of one run. Stages take it and leave records through `record`; they share nothing else."""

    run_id: str
    suite: Suite
    plan: Plan
    """What is left to do: all of the suite, or less when a run is resumed."""
    catalog: Catalog
    settings: Settings
    spool: Spool
    place: machine.Placement
    hardware: str
    context: Mapping[str, str]
    store: "Store | None" = None
    """The database; ``None`` for a run that leaves its results in the spool."""
    workdir: Path = field(default_factory=default_root)
    """For what engines and probes need while they work; gone with the run, however it ends."""
    progress: Progress = field(default_factory=Silent)
    ledger: Ledger = field(default_factory=Ledger)
    known: Known = field(default_factory=Known)
    should_stop: Callable[[], bool] = never
    engine: Engine | None = None
    """What starts containers; ``None`` where every server is a process."""

    @property
    def folder(self) -> Path:
        """Where this run's samples, logs and report lie."""
        return self.settings.runs / self.run_id

    def server(self, name: str) -> ServerSpec:
        return self.catalog.servers[name]

    def record(self, *records: Record) -> None:
        """Make ``records`` durable before anybody acts on them."""
        self.spool.append(*records)

    def check_stop(self) -> None:
        """Raise `Cancelled` if the run was asked to stop."""
        if self.should_stop():
            raise self.cancelled()

    def check_room(self, failure: str = "") -> None:
        """Raise `SpoolError` if ``failure`` says that a disk is full, or one that the run works on has no room left."""
        rest = f"make room, and `nightbench run --resume {self.run_id}` does the rest"
        if any(os.strerror(number) in failure for number in (errno.ENOSPC, errno.EDQUOT)):
            raise SpoolError(f"{failure}; {rest}")
        for folder in (self.folder, self.workdir):
            disk = os.statvfs(folder)
            # Some file systems count no files, and say that there are none.
            if disk.f_bavail * disk.f_frsize < _NO_ROOM_BYTES or (disk.f_files and not disk.f_favail):
                raise SpoolError(f"{folder} is on a disk that is full; {rest}")

    def cancelled(self) -> Cancelled:
        """What to raise when something was stopped on our behalf."""
        return Cancelled(f"run {self.run_id} was cancelled; `nightbench run --resume {self.run_id}` does the rest")
