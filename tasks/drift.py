"""Stage: the drift report. Tonight's distributions beside those of the nights before; it raises and gates nothing."""

import math
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nightbench.drift import Drift, latency_drifts, output_drifts
from nightbench.record import Record
from tasks.apart import ask
from tasks.report import spooled_records
from tasks.session import Session

if TYPE_CHECKING:
    from db.store import Store

__all__ = ["PAGE", "write_drift_report"]

PAGE = "drift.html"
"""In the run's folder, beside its report."""
NIGHTS = 7
"""Of the window: a week has every kind of night, and a change that was confirmed leaves it after as many."""
MOST = 12
"""Distributions of latencies, and as many of outputs."""
LATENCY_SHIFT = 0.1
"""Shown as drifted from here on: quantiles a tenth apart on average. Single starts of one server differ by less."""
OUTPUT_SHIFT = math.log(2.0)
"""Numeric noise is known by its order: twice as much is another way of computing."""
_READ_S = 20.0
"""For the nights before: those that are not read by then are left out."""
_PATIENCE_S = 60.0


def write_drift_report(session: Session) -> Path | None:
    """The page of how latencies and answers drifted, in the run's folder.

    ``None``, and a note, where there is no night to compare with, nothing to draw with, or no answer in a minute.
    """
    if session.store is None:
        return None
    if not all(find_spec(name) for name in ("evidently", "pandas")):
        session.progress.note("the drift report was left out: Evidently is not installed here")
        return None
    session.progress.doing("drift report")
    try:
        return _written(session, session.store)
    # It is a picture beside the night: whatever is wrong with it, the night goes on.
    except Exception as error:  # noqa: BLE001 - a page that cannot be drawn must not cost the night
        session.progress.note(f"the drift report could not be made: {error}")
        return None


def _written(session: Session, store: "Store") -> Path | None:
    window = _window(session, store)
    if not window:
        session.progress.note("no drift report: no completed night of this suite on this hardware came before")
        return None
    tonight = spooled_records(session.settings, session.run_id)
    latency, outputs = latency_drifts(tonight, window, MOST), output_drifts(tonight, window, MOST)
    groups = [
        _group("latency", LATENCY_SHIFT, latency),
        _group("outputs", OUTPUT_SHIFT, outputs),
    ]
    groups = [group for group in groups if group["columns"]]
    if not groups:
        session.progress.note("no drift report: nothing measured tonight was measured in the nights before")
        return None
    nights = "the night before" if len(window) == 1 else f"the {len(window)} nights before"
    path = session.folder / PAGE
    ask(
        "tasks.drift_report",
        {
            "path": str(path.resolve()),
            "groups": groups,
            "note": f"Tonight ({session.run_id}, “current”) against {nights} (“reference”). Only what differs most is "
            "drawn, so how many of these drifted says little. Nothing is raised here: whether a server got slower is "
            "judged elsewhere, over many nights.",
            "links": [["report.html", "The night's report"]],
        },
        _PATIENCE_S,
    )
    return path


def _group(title: str, threshold: float, drifts: Sequence[Drift]) -> dict[str, object]:
    columns = {drift.name: [drift.tonight.tolist(), drift.window.tolist()] for drift in drifts}
    return {"title": title, "threshold": threshold, "columns": columns}


def _window(session: Session, store: "Store") -> list[list[Record]]:
    """The records of the last completed nights of the suite on this hardware, the newest first."""
    until = time.monotonic() + _READ_S
    window: list[list[Record]] = []
    # Some of the last are this one, or were cancelled.
    for night in store.history(4 * NIGHTS, session.suite.name):
        if len(window) == NIGHTS or time.monotonic() > until:
            break
        if night.run_id != session.run_id and night.status == "completed" and night.hardware == session.hardware:
            window.append(store.records(night.run_id))
    return window
