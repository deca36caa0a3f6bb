"""Stage: the run as people read it."""

from importlib.util import find_spec
from pathlib import Path

from db import spool
from nightbench.record import Record
from nightbench.settings import Settings
from nightbench.summary import NightSummary, summarise
from tasks.session import Session

__all__ = ["night_so_far", "spooled_records", "write_report"]


def night_so_far(session: Session) -> NightSummary:
    """The run's summary from its own spool: what is on disk is what is reported, database or not."""
    return summarise(spooled_records(session.settings, session.run_id))


def spooled_records(settings: Settings, run_id: str) -> tuple[Record, ...]:
    """A run's records from its spool file on this machine, ingested or not."""
    return spool.read(spool.find(settings.spool, run_id)).records


def write_report(night: NightSummary, path: Path) -> Path | None:
    """Write the self-contained HTML report and say where it is; ``None`` where nothing to draw with is installed.

    A machine that only measures needs no plotting library: the report can be made wherever its spool is brought.
    """
    if not all(find_spec(name) for name in ("plotly", "jinja2")):
        return None
    from dashboards.report.page import write

    path.parent.mkdir(parents=True, exist_ok=True)
    return write(night, path)
