"""`nightbench history`."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from flows.commands.common import current_store
from flows.console import open_console, table
from nightbench.errors import UsageError
from nightbench.settings import Settings

__all__ = ["history"]


def history(*, suite: str | None = None, limit: Annotated[int, Parameter(validator=Number(gte=1))] = 20) -> None:
    """List the nights in the database, newest first.

    Parameters
    ----------
    suite
        Only nights of this suite.
    limit
        How many at most.
    """
    settings, console = Settings.from_environment(), open_console()
    nights = current_store(settings, console).history(limit=limit, suite=suite)
    rows = [
        {
            "run": night.run_id,
            "suite": night.suite,
            "started": f"{night.started_at.astimezone():%Y-%m-%d %H:%M}",
            "status": night.status or "unfinished",
            "measured": str(night.measured),
            "missing": str(night.missing),
            "doubted": str(night.doubted),
            "hardware": night.hardware,
        }
        for night in nights
    ]
    if suite is not None and not rows:
        raise UsageError(f"--suite: there is no night of {suite!r}; `nightbench history` lists those there are")
    console.print(table("nights", rows) if rows else "no night yet; `nightbench run smoke` makes one")
