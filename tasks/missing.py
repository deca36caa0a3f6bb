"""A planned cell that is not timed leaves a record that says why; it never just fails to appear."""

from collections.abc import Iterable
from typing import Literal

from nightbench.plan import Cell
from nightbench.record import MissingRecord
from nightbench.server import Protocol
from tasks.session import Session

__all__ = ["Why", "record_missing", "why_untimed"]

Why = Literal["export_failed", "parity_failed", "deployment_failed", "measuring_failed"]


def why_untimed(session: Session, kind: tuple[str, Protocol, int]) -> Why:
    """Of a cell whose deployment is up, by deployment, protocol and batch: no answers are no wrong answers."""
    wrong = bool(session.known.parity.get(kind)) and kind not in session.known.unanswered
    return "parity_failed" if wrong else "measuring_failed"


def record_missing(session: Session, cells: Iterable[Cell], why: Why, detail: str) -> None:
    """Leave one record a cell and count them as done.

    Raises:
        SpoolError: a disk is full. That is no finding about any cell: the rest is for a resumption.
    """
    # What a server says in its last words may be about a disk of its own.
    session.check_room("" if why == "deployment_failed" else detail)
    for cell in cells:
        setup = cell.setup
        session.record(
            MissingRecord(
                run_id=session.run_id,
                cell_id=cell.cell_id,
                round=cell.round,
                server=setup.server,
                model=setup.export.model,
                format=setup.export.format,
                precision=setup.export.precision,
                options=setup.options_map,
                protocol=cell.protocol,
                batch=cell.batch,
                load=cell.load,
                reason=why,
                detail=detail,
            )
        )
        session.progress.done(1)
