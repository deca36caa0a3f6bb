"""The whole night as a Prefect flow."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from prefect import State, flow, states, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.artifacts import PrefectProgress, publish
from flows.benchmark import BODY, benchmark
from flows.cancellation import asked_to_cancel
from flows.night import Steps, run_night, run_replicate
from flows.registry import load_catalog, suite_path
from flows.steps import bare_steps
from launch.environment import Environment
from nightbench.errors import DeploymentError
from nightbench.plan import Cell, Export, Replicate
from nightbench.settings import Settings
from tasks.export import Exported, Unusable
from tasks.measure import Subject
from tasks.opening import fresh, opened, resumed
from tasks.progress import Fanout, Progress
from tasks.report import night_so_far
from tasks.session import Cancelled, Session
from tasks.store import open_store

__all__ = ["LISTENER", "nightly"]

LISTENER: ContextVar[Progress | None] = ContextVar("progress_listener", default=None)
"""A terminal that wants to follow a run started from this process."""

T = TypeVar("T")


def _run_name() -> str:
    """The suite's name, also when it was given as a path."""
    return Path(flow_run.parameters["suite"]).stem


@flow(name="nightly", flow_run_name=_run_name, persist_result=False)
def nightly(suite: str = "smoke", seed: int | None = None, resume: str | None = None) -> str | State[str]:
    """Measure every cell of a suite and report what was found.

    Args:
        suite: A suite that comes with nightbench, or the path of a suite file.
        seed: Shuffles the order of servers; leave empty for the suite's own.
        resume: The id of a run that was killed or cancelled: only its remaining cells are measured.
    """
    try:
        return _night(suite, seed, resume)
    except Cancelled as cancelled:
        return states.Cancelled(message=str(cancelled))


def _night(suite: str, seed: int | None, resume: str | None) -> str:
    settings = Settings.from_environment()
    catalog = load_catalog(settings)
    request = resumed(resume, settings, catalog) if resume else fresh(suite_path(suite), catalog, seed)
    terminal = LISTENER.get()
    progress = Fanout([PrefectProgress(), *([terminal] if terminal else [])])
    should_stop = asked_to_cancel(UUID(str(flow_run.id)))
    with (
        open_store(settings) as store,
        opened(request, settings, catalog, store=store, progress=progress, should_stop=should_stop) as session,
    ):
        progress.begin(len(request.plan.cells))
        report = run_night(request.plan, prefect_steps(session))
        publish(night_so_far(session), report)
    return request.run_id


def prefect_steps(session: Session) -> Steps:
    """The bare steps dressed as Prefect tasks and, for each deployment, a flow.

    Nothing is retried and nothing cached: a repeat is a new measurement, and only our records remember.
    """
    bare = bare_steps(session)

    def environment(server: str) -> Environment | DeploymentError:
        return _as_task("environment", server, lambda: bare.environment(server))

    def export(what: Export) -> Exported | Unusable:
        return _as_task("export", f"{what.model} {what.format}", lambda: bare.export(what))

    def measure(subject: Subject, cell: Cell) -> object:
        return _as_task("measure", cell.label, lambda: bare.measure(subject, cell))

    def report() -> Path | None:
        return _as_task("report", session.run_id, bare.report)

    steps = replace(bare, environment=environment, export=export, measure=measure, report=report)

    def benchmark_flow(replicate: Replicate, exported: Exported, environment: Environment | DeploymentError) -> None:
        setup = replicate.setup
        token = BODY.set(partial(run_replicate, steps, replicate, exported, environment))
        try:
            benchmark(setup.server, setup.export.model, replicate.round, len(replicate.cells))
        finally:
            BODY.reset(token)

    return replace(steps, benchmark=benchmark_flow)


def _as_task(name: str, run_name: str, body: Callable[[], T]) -> T:
    """Run ``body`` as one Prefect task run."""
    dressed = task(name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)(body)
    return dressed()
