"""Stage: the quality gate. When all of a night lies side by side, is it whole, and can its figures be true?

What it finds are doubts of the cells concerned, which `nightbench.summary` adds to their own. The gate ends no night:
where it cannot be held, a note says so.
"""

from collections.abc import Sequence
from importlib.util import find_spec

from nightbench.catalog import resolve
from nightbench.night_frame import Row, night_rows
from nightbench.quality import RULES, Evaluated, Quality, gate_records, judged
from nightbench.record import GateRecord, Record, RunStarted
from tasks.apart import ask
from tasks.report import spooled_records
from tasks.session import Session

__all__ = ["PAGE", "check_quality"]

PAGE = "quality.html"
"""In the run's folder, beside its report."""
_PATIENCE_S = 180.0
"""A night of 6,000 rows takes ten seconds, most of them for the import; the machine may be busy."""


def check_quality(session: Session) -> list[GateRecord]:
    """Hold the night against `nightbench.quality.RULES`, put on record what breaks them, and draw the page of it.

    After the last round, before anything is judged. Empty where nothing is wrong, or where the gate could not be
    held, which is noted.
    """
    if not all(find_spec(name) for name in ("great_expectations", "pandas")):
        session.progress.note("the quality gate was left out: Great Expectations is not installed here")
        return []
    session.progress.doing("quality gate")
    try:
        records = spooled_records(session.settings, session.run_id)
        rows = _rows(session, records)
        quality = judged(rows, _evaluated(rows))
    # Whatever is wrong with the gate, the night's figures are on disk: it must not end here.
    except Exception as error:  # noqa: BLE001 - a gate that cannot look must not cost the night
        session.progress.note(f"the quality gate could not be held: {error}")
        return []
    found = gate_records(session.run_id, quality)
    for record in found:
        session.record(record)
    if found:
        cells = len({record.cell_key for record in found})
        session.progress.note(f"the quality gate doubts {cells} {'cell' if cells == 1 else 'cells'}: see {PAGE}")
    _draw(session, records, rows, quality)
    return found


def _rows(session: Session, records: Sequence[Record]) -> list[Row]:
    measure = session.suite.measure
    return night_rows(
        records,
        # The session's own plan is only what was left to do when the run was resumed.
        resolve(session.suite, session.catalog, f"suite of run {session.run_id}").cells,
        timeout_ns=round(measure.timeout_s * 1e9),
        sending_ns=round((measure.warmup_s + measure.duration_s) * 1e9),
    )


def _evaluated(rows: Sequence[Row]) -> list[Evaluated]:
    answers = ask("tasks.expectations", rows, _PATIENCE_S)
    checks = [check for rule in RULES for check in rule.checks]
    return [
        Evaluated(check, looked_at, tuple(broken)) for check, (looked_at, broken) in zip(checks, answers, strict=True)
    ]


def _draw(session: Session, records: Sequence[Record], rows: Sequence[Row], quality: Sequence[Quality]) -> None:
    if not find_spec("jinja2"):
        return
    from dashboards.quality.page import write

    run = next(record for record in records if isinstance(record, RunStarted))
    try:
        write(run, rows, quality, session.folder / PAGE)
    except OSError as error:
        session.progress.note(f"the page of the quality gate could not be drawn: {error}")
