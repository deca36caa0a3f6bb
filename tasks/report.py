"""Stage: the run as people read it."""

from importlib.util import find_spec
from pathlib import Path

from dashboards.report.told import Told
from db import spool
from nightbench.errors import UsageError
from nightbench.record import Record, RunFinished
from nightbench.settings import Settings
from nightbench.summary import NightSummary, summarise
from tasks.session import Session

__all__ = ["has_completed", "night_so_far", "spooled_records", "write_report"]


def night_so_far(session: Session) -> NightSummary:
    """The run's summary from its own spool: what is on disk is what is reported, database or not."""
    return summarise(spooled_records(session.settings, session.run_id))


def spooled_records(settings: Settings, run_id: str) -> tuple[Record, ...]:
    """A run's records from its spool file on this machine, ingested or not."""
    return spool.read(spool.find(settings.spool, run_id)).records


def has_completed(settings: Settings, run_id: str) -> bool:
    """Whether everything that was planned for a run has been attempted."""
    records = spooled_records(settings, run_id)
    return any(isinstance(record, RunFinished) and record.status == "completed" for record in records)


def write_report(night: NightSummary, path: Path, told: Told | None = None) -> Path | None:
    """Write the self-contained HTML report and say where it is; ``None`` where nothing to draw with is installed.

    ``told`` is what the run's records say beside its figures (`dashboards.report.told.told_of`): without it the report
    has no verdicts, and no word of how servers were started. A machine that only measures needs no plotting library:
    the report can be made wherever its spool is brought.
    """
    if not all(find_spec(name) for name in ("plotly", "jinja2")):
        return None
    from dashboards.report.page import write

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write(night, path, told or Told())
    except OSError as error:
        remedy = "make room, or choose another file with `nightbench report --output`"
        raise UsageError(f"report: {path} cannot be written: {error.strerror}; {remedy}") from error
