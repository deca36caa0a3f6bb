"""`nightbench sweep`."""

import json as jsonlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from flows.console import open_console
from flows.sweep_options import Asked, Ending, Sending, Spacing
from flows.sweep_print import print_sweep
from flows.sweep_request import check_writable, drawn_anew, requested
from flows.sweep_view import LiveView
from loadgen.run import run_job
from loadgen.sweep import Send, Swept, calibrated, run_sweep
from loadgen.sweep_audit import audit_sweep
from loadgen.sweep_report import report
from loadgen.target import Target
from nightbench.errors import NightbenchError, UsageError
from nightbench.settings import Settings

__all__ = ["sweep"]


def sweep(
    url: str,
    /,
    *,
    sending: Sending = Sending(),  # noqa: B008 - frozen, and what cyclopts fills in
    spacing: Spacing = Spacing(),  # noqa: B008
    ending: Ending = Ending(),  # noqa: B008
    asked: Asked = Asked(),  # noqa: B008
) -> None:
    """Load a server that is running already, whatever it serves, and say how it did.

    Parameters
    ----------
    url
        `http://HOST:PORT[/PATH]` or `HOST:PORT`.
    """
    wanted = requested(url, sending, spacing, ending, asked)
    draw = drawn_anew(sending, wanted.endpoint.path) if asked.cache_audit else None
    check_writable(asked.json)
    endpoint = wanted.endpoint
    host = Target(endpoint.host, endpoint.port).reach(allow_remote=asked.allow_remote)
    wanted = replace(wanted, endpoint=replace(endpoint, host=host))
    console = open_console()
    alone = spacing.machines == 1
    with LiveView(console, wanted) as view, _alone() if alone else _together(spacing) as send:
        # What the others' machines can do is not known here.
        calibration = calibrated(wanted, view.tick) if asked.calibrate and alone else None
        swept = run_sweep(wanted, view.tick, view.begin, view.show, view.step, calibration, send)
        failure = None
        if draw is not None:
            view.audit()
            try:
                swept = replace(swept, audit=audit_sweep(wanted, draw, view.tick))
            except NightbenchError as error:
                # The figures are there all the same.
                failure = error
    print_sweep(console, swept)
    if failure is not None:
        console.print(f"cache audit: {failure}", markup=False, highlight=False, soft_wrap=True)
    if asked.json is not None:
        _save(swept, asked.json, console)
    sys.exit(1 if swept.nothing_succeeded else 0)


@contextmanager
def _alone() -> Iterator[Send]:
    """This machine sends all of a load."""
    yield run_job


@contextmanager
def _together(spacing: Spacing) -> Iterator[Send]:
    """So many machines share a load, by the workers of one pool."""
    from flows.prefect_settings import configure
    from flows.services import running_prefect

    settings = Settings.from_environment()
    ours = running_prefect(settings)
    api_url = os.environ.get("PREFECT_API_URL") or (ours.api_url if ours else "")
    if not api_url:
        raise UsageError("--machines: no Prefect server hands out the parts; set PREFECT_API_URL, or `nightbench up`")
    configure(settings, api_url)
    from flows.pools import pool_name
    from flows.spread import start_part
    from tasks.spread import Spreading
    from tasks.store import open_store

    with open_store(settings) as store:
        yield Spreading(store, spacing.machines, partial(start_part, spacing.pool or pool_name(settings)))


def _save(swept: Swept, path: Path, console: Console) -> None:
    try:
        path.write_text(jsonlib.dumps(report(swept), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UsageError(f"--json: {path} cannot be written: {error.strerror}") from error
    console.print(f"figures: {path}", soft_wrap=True, markup=False)
