"""The start and the end of a run: checks before any work, and the records that frame the rest."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from db import spool
from launch.device import exclusive
from launch.ports import check_port_range
from launch.readiness import Stopped
from nightbench.catalog import Catalog, resolve
from nightbench.errors import UsageError
from nightbench.plan import Plan, remaining
from nightbench.record import MeasurementRecord, RunFinished, RunStarted
from nightbench.settings import Settings
from nightbench.suite import Suite, load_suite, parse_suite
from tasks import machine
from tasks.progress import Progress, Silent
from tasks.session import Cancelled, Session, never, new_run_id

if TYPE_CHECKING:
    from db.store import Store

__all__ = ["Request", "finish", "fresh", "opened", "preflight", "resumed", "unfinished"]

SPOOL_BYTES_PER_CELL = 64 * 1024
"""A measurement's line: histogram, telemetry, context. Twice the largest seen."""
SAMPLES_BYTES_PER_CELL = 2 * 1024 * 1024
"""A cell's compressed per-request columns."""


@dataclass(frozen=True, slots=True)
class Request:
    """A run to be made: everything decided, nothing done."""

    run_id: str
    suite: Suite
    text: str
    whole: Plan
    """All the cells of the night, those already done included."""
    plan: Plan
    """What is left of it."""
    started: bool = False
    """Whether an earlier process has begun this run."""


def fresh(path: Path, catalog: Catalog, seed: int | None = None) -> Request:
    """A new run of a suite file; ``seed`` stands in for the suite's own."""
    suite, text = load_suite(path)
    if seed is not None:
        suite = suite.model_copy(update={"seed": seed})
    plan = resolve(suite, catalog, str(path))
    return Request(new_run_id(suite.name, datetime.now(UTC)), suite, text, plan, plan)


def resumed(run_id: str, settings: Settings, catalog: Catalog) -> Request:
    """What is left of a run that was killed or cancelled, from its own spool."""
    path = settings.spool / f"{run_id}.jsonl"
    if not path.exists():
        raise UsageError(
            f"run {run_id!r}: was finished, or never begun, on this machine; `nightbench history` lists runs"
        )
    records = spool.read(path).records
    begun = next((record for record in records if isinstance(record, RunStarted)), None)
    if begun is None:
        raise UsageError(f"{path}: does not say what the run was; start it anew with `nightbench run SUITE`")
    suite = parse_suite(begun.suite_yaml, f"suite of run {run_id}").model_copy(update={"seed": begun.seed})
    whole = resolve(suite, catalog, f"suite of run {run_id}")
    done = {record.cell_id for record in records if isinstance(record, MeasurementRecord)}
    return Request(run_id, suite, begun.suite_yaml, whole, remaining(whole, done), started=True)


def unfinished(settings: Settings) -> str:
    """The run id of the newest run that was begun here and not completed."""
    for path in sorted(settings.spool.glob("*.jsonl"), reverse=True):
        ends = [record.status for record in spool.read(path).records if isinstance(record, RunFinished)]
        if "completed" not in ends:
            return path.stem
    raise UsageError("--resume: no run on this machine is unfinished; start one with `nightbench run SUITE`")


def preflight(request: Request, settings: Settings, catalog: Catalog) -> None:
    """Find out now what would otherwise end the night later.

    Raises:
        UsageError: the spool's disk is full or read-only, or the port range has no room.
    """
    cells = len(request.plan.cells)
    spool.preflight(settings.spool, cells * (SPOOL_BYTES_PER_CELL + SAMPLES_BYTES_PER_CELL))
    if settings.server_ports:
        used = {replicate.setup.server for replicate in request.plan.replicates}
        needed = max((len(catalog.servers[name].ports) for name in used), default=0)
        check_port_range(settings.server_ports, needed)


@contextmanager
def opened(
    request: Request,
    settings: Settings,
    catalog: Catalog,
    *,
    store: "Store | None" = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = never,
) -> Iterator[Session]:
    """A session for ``request``, its start on record; a block that is left by an exception puts that on record too."""
    preflight(request, settings, catalog)
    place = machine.placement()
    with spool.Spool.open(settings.spool, request.run_id) as lines:
        session = Session(
            run_id=request.run_id,
            suite=request.suite,
            plan=request.plan,
            catalog=catalog,
            settings=settings,
            spool=lines,
            place=place,
            hardware=machine.hardware(place),
            context=machine.context(),
            store=store,
            progress=progress or Silent(),
            should_stop=should_stop,
        )
        session.folder.mkdir(parents=True, exist_ok=True)
        if not request.started:
            session.record(_started(session, request))
        try:
            with _alone(session):
                yield session
        except BaseException as error:
            session.record(_finished(session, error))
            raise


@contextmanager
def _alone(session: Session) -> Iterator[None]:
    """Wait until no other run measures on this machine, and keep others waiting until the block ends."""

    def say_so() -> None:
        session.progress.note("another run is measuring on this machine; waiting for it to end")

    with ExitStack() as stack:
        with session.ledger.span("waiting"):
            lock = exclusive(session.settings.cache / "measuring.lock", say_so, session.should_stop)
            try:
                stack.enter_context(lock)
            except Stopped as stopped:
                raise session.cancelled() from stopped
        yield


def finish(session: Session) -> None:
    """Put on record that everything planned was attempted, and where the time went."""
    session.record(_finished(session, None))


def _started(session: Session, request: Request) -> RunStarted:
    return RunStarted(
        run_id=session.run_id,
        suite=session.suite.name,
        seed=session.suite.seed,
        started_at=datetime.now(UTC),
        hardware=session.hardware,
        context=session.context,
        suite_yaml=request.text,
        planned_cells=len(request.whole.cells),
    )


def _finished(session: Session, error: BaseException | None) -> RunFinished:
    spent_ns, now = session.ledger.spent_ns(), datetime.now(UTC)
    match error:
        case None:
            return RunFinished(session.run_id, now, "completed", spent_ns, own_ns_per=session.ledger.own_ns_per())
        case Cancelled() | KeyboardInterrupt() | SystemExit():
            return RunFinished(session.run_id, now, "cancelled", spent_ns, str(error) or type(error).__name__)
        case _:
            return RunFinished(session.run_id, now, "failed", spent_ns, f"{type(error).__name__}: {error}")
