"""The start and the end of a run: checks before any work, and the records that frame the rest."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from db import spool
from launch.device import exclusive
from launch.here import lacks_gpu
from launch.ports import check_port_range
from launch.workdir import default_root, workdir
from nightbench.catalog import Catalog
from nightbench.errors import UsageError
from nightbench.ledger import Ledger
from nightbench.record import RunFinished, RunStarted
from nightbench.settings import Settings
from nightbench.stopping import Stopped, never
from tasks import machine
from tasks.launching import context_of, engine_as_begun, engine_for, other_way
from tasks.progress import Progress, Silent
from tasks.request import SUITE_FOLDER, TRACES, Request, check_traces
from tasks.session import CELL_BYTES, Cancelled, Known, Session

if TYPE_CHECKING:
    from db.store import Store

__all__ = ["alone", "finish", "opened", "preflight"]

LOCK = Path(tempfile.gettempdir()) / "nightbench-measuring.lock"
"""One for the whole machine, whoever measures on it."""


def preflight(request: Request, settings: Settings, catalog: Catalog) -> None:
    """Find out now what would otherwise end the night later.

    Raises:
        UsageError: the spool's disk is full or read-only, the port range has no room, or all takes a GPU and there is
            none.
    """
    catalog = catalog.with_external(request.suite)
    setups = {replicate.setup for replicate in request.plan.replicates}
    if setups and all(lacks_gpu(catalog.servers[each.server], each.options_map) for each in setups):
        raise UsageError(
            f"suite {request.suite.name}: all that is to be run takes a GPU, and this machine has none; run it where"
            " one is, or choose another (`nightbench suites`)"
        )
    cells = len(request.plan.cells)
    spool.preflight(settings.spool, cells * CELL_BYTES)
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
    progress = progress or Silent()
    place = machine.placement()
    hardware = machine.hardware(place)
    if request.contained is not None:
        engine = engine_as_begun(request.run_id, containers=request.contained)
    else:
        note = progress.note if _launches(request, catalog) else Silent().note
        engine = engine_for(request.suite, f"suite {request.suite.name}", note)
        if store is not None and (said := other_way(store, request.suite.name, hardware, engine)):
            note(said)
    with spool.Spool.open(settings.spool, request.run_id) as lines, workdir(default_root()) as folder:
        session = Session(
            run_id=request.run_id,
            suite=request.suite,
            plan=request.plan,
            catalog=catalog.with_external(request.suite),
            settings=settings,
            spool=lines,
            place=place,
            hardware=hardware,
            context={**machine.context(), **context_of(engine)},
            workdir=folder,
            engine=engine,
            store=store,
            progress=progress,
            should_stop=should_stop,
            ledger=Ledger(request.earlier_ns),
            known=Known(peaks=dict(request.peaks)),
        )
        session.folder.mkdir(parents=True, exist_ok=True)
        if not request.started:
            session.record(_started(session, request))
        try:
            with alone(session):
                yield session
        except BaseException as error:
            session.record(_finished(session, error))
            raise


def _launches(request: Request, catalog: Catalog) -> bool:
    """Whether any server is started at all: not what the load engine hosts, nor what runs already."""
    known = catalog.with_external(request.suite).servers
    used = {replicate.setup.server for replicate in request.plan.replicates}
    return any(not known[name].in_process and known[name].external is None for name in used)


@contextmanager
def alone(session: Session) -> Iterator[None]:
    """Wait until no other run measures on this machine, and keep others waiting until the block ends."""

    def say_so() -> None:
        session.progress.note("another run is measuring on this machine; waiting for it to end")

    with ExitStack() as stack:
        with session.ledger.span("waiting"):
            lock = exclusive(LOCK, say_so, session.should_stop)
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
        context={**session.context, SUITE_FOLDER: str(request.folder), TRACES: check_traces(request.whole)},
        suite_yaml=request.text,
        planned_cells=len(request.whole.cells),
    )


def _is_termination(error: BaseException) -> bool:
    """Whether it is what Prefect makes of SIGTERM; its class is not ours to import here."""
    return type(error).__name__ == "TerminationSignal"


def _finished(session: Session, error: BaseException | None) -> RunFinished:
    spent_ns, now = session.ledger.spent_ns(), datetime.now(UTC)
    match error:
        case None:
            return RunFinished(session.run_id, now, "completed", spent_ns, own_ns_per=session.ledger.own_ns_per())
        case _ if isinstance(error, Cancelled | KeyboardInterrupt | SystemExit) or _is_termination(error):
            return RunFinished(session.run_id, now, "cancelled", spent_ns, str(error) or type(error).__name__)
        case _:
            return RunFinished(session.run_id, now, "failed", spent_ns, f"{type(error).__name__}: {error}")
