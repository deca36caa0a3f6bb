"""`nightbench run`."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from flows.console import TerminalProgress, open_console, print_night
from flows.registry import load_catalog, suite_path
from flows.tables import own_line
from launch.reaper import reap
from nightbench.catalog import Catalog, resolve
from nightbench.errors import NightbenchError, UsageError
from nightbench.settings import Settings
from nightbench.suite import load_suite
from nightbench.summary import NightSummary, summarise
from tasks.opening import preflight
from tasks.report import has_completed, spooled_records
from tasks.request import Request, fresh, resumed, unfinished
from tasks.session import Cancelled

__all__ = ["run"]


def run(
    suite: str | None = None,
    /,
    *,
    offline: bool = False,
    seed: int | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run a suite: deploy, measure, store, report.

    Parameters
    ----------
    suite
        A suite's name or file; with --resume, the id of a run (default: the newest unfinished one).
    offline
        Use neither Prefect nor a database: results wait in the spool for `nightbench ingest`.
    seed
        Shuffles the order of servers; by default the suite's own.
    resume
        Measure only what an interrupted run left.
    """
    settings, console = Settings.from_environment(), open_console()
    catalog = load_catalog(settings)
    orphans = sum(found.kind == "process" for found in reap())
    if orphans:
        console.print(f"ended {orphans} processes that a killed run had left")
    request = _request(suite, seed, resume, settings, catalog)
    preflight(request, settings, catalog)
    if offline:
        night = _run_offline(request, settings, catalog, console)
    else:
        night = _run_in_prefect(request, suite, seed, settings, console)
    console.print(f"ours: {_own_share(night, catalog)}")
    sys.exit(3 if any(cell.missing for cell in night.cells) else 0)


def _request(suite: str | None, seed: int | None, resume: bool, settings: Settings, catalog: Catalog) -> Request:
    if resume and seed is not None:
        raise UsageError("--seed: a resumed run keeps the seed it was begun with; leave --seed out")
    if resume:
        return resumed(suite or unfinished(settings), settings, catalog)
    if suite is None:
        raise UsageError("run: SUITE is missing; `nightbench suites` lists suites")
    return fresh(suite_path(suite), catalog, seed)


def _run_offline(request: Request, settings: Settings, catalog: Catalog, console: Console) -> NightSummary:
    from flows.offline import run_offline

    with TerminalProgress(console) as progress:
        report = run_offline(request, settings, catalog, progress)
    night = summarise(spooled_records(settings, request.run_id))
    print_night(console, night)
    if report:
        console.print(f"report: {report}", soft_wrap=True)
    console.print(f"results: {settings.spool / request.run_id}.jsonl, for `nightbench ingest`", soft_wrap=True)
    return night


def _run_in_prefect(
    request: Request, suite: str | None, seed: int | None, settings: Settings, console: Console
) -> NightSummary:
    from flows.prefect_settings import configure
    from flows.services import answers, prefect_up, start_database

    own_api = os.environ.get("PREFECT_API_URL")
    if own_api and not answers(own_api):
        raise UsageError(f"environment: PREFECT_API_URL: {own_api} does not answer; start it, or unset it to use ours")
    with console.status("starting the database and Prefect"):
        start_database(settings)
        api_url = own_api or prefect_up(settings).api_url
    configure(settings, api_url)
    from prefect.exceptions import FailedRun

    from flows.marks import settle_dead
    from flows.nightly import LISTENER, REQUEST, nightly

    settle_dead(settings)
    name = request.suite.name if request.started else str(suite_path(suite or "").absolute())
    with TerminalProgress(console) as progress:
        LISTENER.set(progress)
        REQUEST.set(request)
        page = ""
        try:
            resume = request.run_id if request.started else None
            state = nightly(name, seed=seed, resume=resume, return_state=True)
        except Exception as error:
            # The night's own failures are in its state; this is Prefect's, which may come after all is done.
            if not has_completed(settings, request.run_id):
                raise NightbenchError(
                    f"Prefect failed ({type(error).__name__}); `nightbench run --resume` does the rest"
                ) from error
        else:
            if state.is_cancelled():
                raise Cancelled(state.message or "the run was cancelled")
            try:
                state.result()
            except FailedRun as failed:
                # Nothing was raised: the night says itself, by a sentence, that what was asked for cannot be done.
                raise UsageError(str(failed)) from None
            page = f"{api_url.removesuffix('/api')}/runs/flow-run/{state.state_details.flow_run_id}"
    night = summarise(spooled_records(settings, request.run_id))
    print_night(console, night)
    console.print(f"report:  {settings.runs / request.run_id / 'report.html'}", soft_wrap=True)
    console.print(f"Prefect: {page or 'went away before the run ended'}", soft_wrap=True)
    console.print("`nightbench history` lists the nights; `nightbench down` stops the database and Prefect")
    return night


def _own_share(night: NightSummary, catalog: Catalog) -> str:
    path = suite_path("nightly")
    suite, _ = load_suite(path)
    starts = {name: server.start_estimate_s for name, server in catalog.servers.items()}
    cell_s = suite.measure.warmup_s + suite.measure.duration_s
    return own_line(night, resolve(suite, catalog, str(path)), cell_s, starts)
