"""`nightbench export-results`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dashboards.report.told import told_of
from dashboards.results.export import ResultFormat, Rows, exported
from flows.commands.common import records_of
from flows.console import open_console
from nightbench.errors import UsageError
from nightbench.settings import Settings
from nightbench.summary import summarise

__all__ = ["export_results"]


def export_results(
    run: str = "last",
    /,
    *,
    format: ResultFormat,  # noqa: A002 - the option's name
    per: Rows = Rows.CELL,
    output: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write one run's results to a file: for other programs, or as PDF for people.

    Parameters
    ----------
    run
        A run's id, a unique beginning of it, or `last`.
    format
        `csv`, `json` and `parquet` have the same columns (docs/report.md); `pdf` says what the report says.
    per
        A row for each `cell` over its rounds, or for each `round` of each cell.
    output
        Where to write it; by default into the run's own folder.
    force
        Write over a file that is there.
    """
    settings, console = Settings.from_environment(), open_console()
    if format.needs and find_spec(format.needs) is None:
        raise UsageError(
            f"--format: {format.value} is made with {format.needs}, which is not installed here; install nightbench "
            "with its pipeline extra, or choose csv or json"
        )
    if per is Rows.ROUND and format is ResultFormat.PDF:
        raise UsageError("--per: a PDF has no rows; leave --per out, or choose csv, json or parquet")
    records = records_of(run, settings, console)
    night = summarise(records)
    path = output or settings.runs / night.run.run_id / f"results{'-by-round' * (per is Rows.ROUND)}.{format.value}"
    _write(path, exported(night, told_of(records), format, per), force=force)
    console.print(str(path), soft_wrap=True, markup=False)


def _write(path: Path, content: bytes, *, force: bool) -> None:
    """Whole or not at all, and never over a file that nobody offered up; not even one that appears meanwhile."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            if force:
                partial.replace(path)
            else:
                path.hardlink_to(partial)
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"--output: {path} is there already; choose another, or add --force") from None
    except OSError as error:
        raise UsageError(f"--output: {path} cannot be written: {error.strerror}; choose another") from error
