"""The whole night as a Prefect flow."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from prefect import State, flow, states, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from db.store import Store
from flows.artifacts import PrefectProgress, own_page, publish
from flows.benchmark import BODY, benchmark
from flows.cancellation import CancelWatch
from flows.confirm import confirmed_in_prefect
from flows.dressing import Dressing
from flows.marks import marked
from flows.night import Steps, run_night, run_replicate
from flows.notify import send_waiting, tell
from flows.parameters import asked
from flows.registry import load_catalog
from flows.services import answers
from flows.steps import bare_steps
from flows.turn import turn
from launch.environment import Environment
from nightbench.changes import Changes
from nightbench.errors import DeploymentError, NightbenchError, UsageError
from nightbench.judge.night import Suspect
from nightbench.plan import Cell, Export, Replicate
from nightbench.record import ConfirmationRecord
from nightbench.settings import Settings
from nightbench.stopping import Stopped
from tasks.export import Exported, Unusable
from tasks.judge import Judged
from tasks.opening import opened
from tasks.progress import Fanout, Progress
from tasks.report import night_so_far
from tasks.request import Request
from tasks.session import Cancelled, Session
from tasks.store import open_store
from tasks.subject import Subject

__all__ = ["LISTENER", "REQUEST", "nightly"]

REQUEST: ContextVar[Request | None] = ContextVar("request", default=None)
"""A run that whoever calls the flow from this process has made already; the parameters say the same."""
LISTENER: ContextVar[Progress | None] = ContextVar("progress_listener", default=None)
"""A terminal that wants to follow a run started from this process."""

_TOO_LATE = timedelta(hours=12)
"""Half of a nightly schedule's gap."""

T = TypeVar("T")


def _run_name() -> str:
    """The suite's name, also when it was given as a path."""
    return Path(flow_run.parameters["suite"]).stem


@flow(name="nightly", flow_run_name=_run_name, persist_result=False)
def nightly(
    suite: str = "smoke",
    servers: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
    formats: tuple[str, ...] = (),
    protocols: tuple[str, ...] = (),
    batches: tuple[int, ...] = (),
    rounds: int = 0,
    duration_s: float = 0.0,
    seed: int | None = None,
    resume: str | None = None,
) -> str | State[str]:
    """Measure every cell of a suite and report what was found.

    A run with anything changed is a suite of its own: it is compared with runs that were changed alike, never with the
    nights.

    Args:
        suite: What to measure, and how.
        servers: Only these servers; none: those of the suite. One that the suite lacks is added, with its defaults.
        models: Only these models; none: those of the suite.
        formats: Only these file formats, on the servers that take them; none: as the suite says.
        protocols: Only these protocols, on the servers that speak them; none: as the suite says.
        batches: These batch sizes, such as 1, 8, 32; none: those of the suite.
        rounds: How often each server is started and measured afresh; 0: as the suite says.
        duration_s: Seconds that each cell is measured; 0: as the suite says.
        seed: Shuffles the order of servers; empty: the suite's own.
        resume: The id of a run that was killed or cancelled; only its remaining cells are measured.
    """
    if (due := _overdue()) is not None:
        return states.Cancelled(message=f"was due at {due:%Y-%m-%d %H:%M} UTC, and no worker took it in time")
    changes = Changes(servers, models, formats, protocols, batches, rounds, duration_s)
    try:
        return _night(suite, changes, seed, resume)
    except (Cancelled, Stopped) as cancelled:
        return states.Cancelled(message=str(cancelled))
    except UsageError as error:
        # The sentence is the whole message: a traceback would tell whoever filled in the form nothing more.
        return states.Failed(message=str(error))


def _overdue() -> datetime | None:
    """When a run of the schedule was due, if that is so long ago that it would be measured in another night's time.

    Workers that come back after days find one for each night that nobody began.
    """
    with suppress(Exception), get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(flow_run.id)))
        due = run.expected_start_time
        if run.auto_scheduled and due is not None and datetime.now(UTC) - due > _TOO_LATE:
            return due
    return None


def _night(suite: str, changes: Changes, seed: int | None, resume: str | None) -> str:
    settings = Settings.from_environment()
    catalog = load_catalog(settings)
    request = REQUEST.get() or asked(suite, changes, seed, resume, settings, catalog)
    terminal = LISTENER.get()
    progress = Fanout([PrefectProgress(), *([terminal] if terminal else [])])
    dressing = Dressing(progress, partial(answers, get_current_settings().api.url or ""))
    flow_run_id = UUID(str(flow_run.id))
    with (
        marked(settings, flow_run_id),
        CancelWatch(flow_run_id) as cancelled,
        turn(settings.machine, progress, cancelled),
        _store_or_spool(settings, progress) as store,
        opened(request, settings, catalog, store=store, progress=progress, should_stop=cancelled) as session,
    ):
        progress.begin(len(request.plan.cells))
        report = run_night(request.plan, prefect_steps(session, dressing, own_page()))
        # A night that could not be judged has no message of its own; earlier ones may be waiting all the same.
        if store is not None:
            dressing.attempt(partial(send_waiting, settings, store))
        dressing.attempt(lambda: publish(night_so_far(session), report))
    return request.run_id


@contextmanager
def _store_or_spool(settings: Settings, progress: Progress) -> Iterator[Store | None]:
    """The database; none where it is away as the night begins: the spool keeps what is measured meanwhile."""
    try:
        store = open_store(settings)
    except NightbenchError as error:
        progress.note(f"{error}; the results wait in the spool")
        yield None
        return
    with store:
        yield store


def prefect_steps(session: Session, dressing: Dressing, page: str | None = None) -> Steps:
    """The bare steps dressed as Prefect tasks and, for each deployment, a flow. ``page`` is where the run is shown.

    Nothing is retried and nothing cached: a repeat is a new measurement, and only our records remember.
    """

    def confirm(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        if session.store is None:
            return []
        return confirmed_in_prefect(dressing, session, suspects, session.store, budget_ns)

    def notify(judged: Judged) -> None:
        dressing.attempt(lambda: tell(session, judged, page))

    bare = bare_steps(session, confirm)

    def environment(server: str) -> Environment | DeploymentError:
        return dressing.run(_as_task("environment", server), lambda: bare.environment(server))

    def export(what: Collection[Export]) -> Mapping[Export, Exported | Unusable]:
        return dressing.run(_as_task("export", f"{len(what)} artifacts"), lambda: bare.export(what))

    def calibrate(exports: Mapping[Export, Exported | Unusable]) -> None:
        dressing.run(_as_task("calibrate", "client"), lambda: bare.calibrate(exports))

    def check(subject: Subject) -> None:
        dressing.run(_as_task("check answers", subject.replicate.setup.server), lambda: bare.check(subject))

    def measure(subject: Subject, cell: Cell) -> object:
        return dressing.run(_as_task("measure", cell.label), lambda: bare.measure(subject, cell))

    def gate() -> object:
        return dressing.run(_as_task("quality gate", session.run_id), bare.gate)

    def report() -> Path | None:
        return dressing.run(_as_task("report", session.run_id), bare.report)

    steps = replace(
        bare,
        environment=environment,
        export=export,
        calibrate=calibrate,
        check=check,
        measure=measure,
        gate=gate,
        report=report,
        notify=notify,
    )

    def benchmark_flow(replicate: Replicate, exported: Exported, environment: Environment | DeploymentError) -> None:
        dressing.run(_as_flow(replicate), partial(run_replicate, steps, replicate, exported, environment))

    return replace(steps, benchmark=benchmark_flow)


def _as_task(name: str, run_name: str) -> Callable[[Callable[[], T]], T]:
    """Runs a step as one Prefect task run."""

    def dress(body: Callable[[], T]) -> T:
        # A function of its own, since Prefect reads names and source from what it decorates.
        def step() -> T:
            return body()

        return task(name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)(step)()

    return dress


def _as_flow(replicate: Replicate) -> Callable[[Callable[[], None]], None]:
    """Runs a step as one run of the `benchmark` flow."""

    def dress(body: Callable[[], None]) -> None:
        token = BODY.set(body)
        try:
            setup = replicate.setup
            benchmark(setup.server, setup.export.model, replicate.round, len(replicate.cells))
        finally:
            BODY.reset(token)

    return dress
