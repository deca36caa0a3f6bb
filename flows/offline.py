"""A night on a bare machine: no Prefect, no database; the spool carries the results to where both are."""

from collections.abc import Callable
from pathlib import Path

from flows.night import run_night
from flows.steps import bare_steps
from nightbench.catalog import Catalog
from nightbench.settings import Settings
from nightbench.stopping import never
from tasks.opening import opened
from tasks.progress import Progress
from tasks.request import Request

__all__ = ["run_offline"]


def run_offline(
    request: Request,
    settings: Settings,
    catalog: Catalog,
    progress: Progress,
    should_stop: Callable[[], bool] = never,
) -> Path | None:
    """Run what ``request`` asks for and return the report; every record is in the spool by then."""
    with opened(request, settings, catalog, progress=progress, should_stop=should_stop) as session:
        progress.begin(len(request.plan.cells))
        return run_night(request.plan, bare_steps(session))
