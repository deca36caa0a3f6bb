"""Stage: the run as people read it."""

from pathlib import Path

from db import spool
from db.drain import DONE
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
    path = settings.spool / f"{run_id}.jsonl"
    return spool.read(path if path.exists() else settings.spool / DONE / path.name).records


def write_report(night: NightSummary, path: Path) -> Path:
    """Write the self-contained HTML report; returns where it is."""
    from dashboards.report.page import write

    path.parent.mkdir(parents=True, exist_ok=True)
    return write(night, path)
