"""One fresh deployment of one side, and the figures of the series in question on it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from db.errors import SpoolError
from db.spool import Spool
from nightbench.errors import DeploymentError
from nightbench.figures import Doubt
from nightbench.judge.night import Suspect
from nightbench.ledger import Ledger
from nightbench.plan import Cell, Replicate, is_peak_of
from nightbench.record import MeasurementRecord, TrialRecord
from nightbench.stopping import Stopped
from tasks.ab.figures import figure
from tasks.ab.sides import Side
from tasks.deploy import deployed
from tasks.measure import measure
from tasks.parity import check_wire
from tasks.progress import Progress
from tasks.session import Cancelled, Known, Session
from tasks.subject import Subject

__all__ = ["Aside", "apart", "points_needed", "trial"]


class Aside:
    """Passes on what is going on; a trial's cells are none of the night's, and its notes are kept to be quoted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.notes: list[str] = []

    def begin(self, cells: int) -> None: ...

    def doing(self, what: str) -> None:
        self._progress.doing(f"re-run: {what}")

    def done(self, cells: int) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._progress.note(f"re-run: {text}")


@contextmanager
def apart(session: Session) -> Iterator[Session]:
    """``session`` for trials: what they leave must never be taken for the night's own, so it goes to a file beside."""
    with Spool.open(session.folder / "ab", session.run_id) as spool:
        yield replace(
            session,
            spool=spool,
            ledger=Ledger(),
            known=Known(ceilings=session.known.ceilings),
            progress=Aside(session.progress),
        )


def points_needed(suspects: Sequence[Suspect], planned: Sequence[Cell]) -> list[Cell]:
    """The cells to measure on each deployment: the suspects' own, after the searches whose peaks they are shares of."""
    wanted = {suspect.cell.point: suspect.cell for suspect in suspects}
    searches = {
        cell.point: cell
        for cell in planned
        if cell.setup == suspects[0].cell.setup and any(is_peak_of(cell.point, point) for point in wanted)
    }
    return list({**searches, **wanted}.values())


def trial(
    side: Side, confirmation_id: str, pair: int, place: int, suspects: Sequence[Suspect], cells: Sequence[Cell]
) -> tuple[TrialRecord, str]:
    """Deploy once, check the answers, measure ``cells``; with why a figure is missing, if one is."""
    mark = f"{confirmation_id.rpartition('-')[2]}p{pair}{'ab'[place]}"
    renamed = tuple(replace(cell, cell_id=f"{cell.key}-{mark}.r{pair}", setup=side.setup) for cell in cells)
    replicate = Replicate(f"{side.setup.server}-{mark}", pair, side.setup, renamed)
    session, started_at = side.session, datetime.now(UTC)
    measured: dict[object, MeasurementRecord] = {}
    failure, why = None, ""
    try:
        with deployed(session, replicate, side.exported, side.environment) as deployment:
            if isinstance(deployment, DeploymentError):
                tail = f"; its log ends: {deployment.log_tail.strip()}" if deployment.log_tail.strip() else ""
                failure = f"{deployment.kind}: {deployment.detail}{tail}"
            else:
                subject = Subject(replicate, deployment, side.exported)
                check_wire(session, subject)
                for cell in renamed:
                    if (record := measure(session, subject, cell)) is not None:
                        measured[cell.point] = record
    except (Cancelled, Stopped, SpoolError):
        raise
    except Exception as error:  # noqa: BLE001 - code of another night, which need not fit what calls it today
        failure = f"{type(error).__name__}: {error}"
    figures: dict[str, dict[str, float]] = {}
    for suspect in suspects:
        found = figure(measured[suspect.cell.point], suspect.key.metric) if suspect.cell.point in measured else None
        if isinstance(found, float):
            figures.setdefault(suspect.key.fingerprint, {})[suspect.key.metric] = found
        elif failure is None:
            why = f"{found.reason}: {found.detail}" if isinstance(found, Doubt) else _last_note(session)
    identity = session.run_id, confirmation_id, pair, side.name, place, replicate.deployment_id
    return TrialRecord(*identity, started_at, figures, failure), why


def _last_note(session: Session) -> str:
    notes = session.progress.notes if isinstance(session.progress, Aside) else []
    return notes[-1] if notes else "it was not measured"
