"""`nightbench report`."""

from pathlib import Path

from dashboards.report.told import told_of
from flows.against import against as held_against
from flows.commands.common import current_store, whole_records
from flows.console import open_console
from nightbench.errors import UsageError
from nightbench.settings import Settings
from nightbench.summary import summarise
from tasks.report import write_report

__all__ = ["report"]


def report(run: str = "last", /, *, against: str | None = None, output: Path | None = None) -> None:
    """Write one run's self-contained HTML report.

    Parameters
    ----------
    run
        A run's id, a unique beginning of it, or `last`.
    against
        Another run: the report begins with what is better or worse than in that one.
    output
        Where to write it; by default into the run's own folder.
    """
    settings, console = Settings.from_environment(), open_console()
    with current_store(settings, console) as store:
        records = whole_records(store, store.run_id(run))
        night = summarise(records)
        other = None if against is None else held_against(store, night, against, "--against")
    # What every reader of the run expects under its usual name is the run alone.
    name = "report.html" if other is None else f"report-against-{other.before.run.run_id}.html"
    path = write_report(night, output or settings.runs / night.run.run_id / name, told_of(records, other))
    if path is None:
        raise UsageError("report: plotly and jinja2 are not installed here; install nightbench with its pipeline extra")
    console.print(str(path), soft_wrap=True, markup=False)
