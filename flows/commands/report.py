"""`nightbench report`."""

from pathlib import Path

from flows.commands.common import records_of
from flows.console import open_console
from nightbench.errors import UsageError
from nightbench.settings import Settings
from nightbench.summary import summarise
from tasks.report import write_report

__all__ = ["report"]


def report(run: str = "last", /, *, output: Path | None = None) -> None:
    """Write one run's self-contained HTML report.

    Parameters
    ----------
    run
        A run's id, a unique beginning of it, or `last`.
    output
        Where to write it; by default into the run's own folder.
    """
    settings, console = Settings.from_environment(), open_console()
    night = summarise(records_of(run, settings, console))
    path = write_report(night, output or settings.runs / night.run.run_id / "report.html")
    if path is None:
        raise UsageError("report: plotly and jinja2 are not installed here; install nightbench with its pipeline extra")
    console.print(str(path), soft_wrap=True)
