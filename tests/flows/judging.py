"""Nights that were never measured: made-up figures on a spool, and a memory of nights that is no database."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from db.spool import Spool
from nightbench.catalog import Catalog
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding
from nightbench.judge.night import Suspect
from nightbench.judge.points import points_of
from nightbench.judge.series import NightPoint, Point, Predecessor, SeriesHistory, SeriesKey
from nightbench.judge.standing import Baseline, Closed
from nightbench.judge.verdict import Outcome
from nightbench.plan import Plan
from nightbench.record import (
    Case,
    ConfirmationRecord,
    DeploymentRecord,
    JudgementRecord,
    Record,
    RunFinished,
    RunStarted,
)
from nightbench.settings import Settings
from nightbench.suite import parse_suite
from tasks.judge import Confirm, Judged, Memory, judge_night
from tasks.machine import Placement
from tasks.progress import Silent
from tasks.session import Session
from tests.nightbench.judged import around, artifact, cell_rounds, night_of

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
SUITE_YAML = """
name: nightly
judge: {judge}
sweeps:
  - models: [resnet]
    servers: [triton]
    loads: [{{closed: 4}}]
"""


@dataclass
class Book:
    """`tasks.judge.Memory` by heart."""

    runs: dict[str, list[Record]] = field(default_factory=dict)
    points: dict[str, dict[SeriesKey, NightPoint]] = field(default_factory=dict)
    baselines: dict[SeriesKey, tuple[str, str, Estimate | None]] = field(default_factory=dict)
    canaries: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)
    heirs: dict[SeriesKey, SeriesKey] = field(default_factory=dict)
    """Tonight's new series, by their keys, and whose place each takes."""
    book: list[Alert] = field(default_factory=list)

    def put_points(self, run_id: str, points: Sequence[NightPoint]) -> None:
        self.points[run_id] = {point.key: point for point in points}

    def _history(self, key: SeriesKey, upto: str, nights: int) -> SeriesHistory:
        since, _, anchor = self.baselines.get(key, (None, "", None))
        runs = [run for run in sorted(self.points) if run <= upto and (since is None or run >= since)]
        known = tuple(
            Point(run, at.figure.value, at.figure.low, at.figure.high, at.doubted)
            for run in runs
            if (at := self.points[run].get(key)) is not None
        )
        return SeriesHistory(known[-nights:], anchor, since)

    def series_of(self, run_id: str, nights: int) -> dict[SeriesKey, SeriesHistory]:
        return {key: self._history(key, run_id, nights) for key in self.points[run_id]}

    def predecessors(self, run_id: str, nights: int, young: int) -> dict[SeriesKey, Predecessor]:
        earlier = [run for run in sorted(self.points) if run < run_id]
        found = {}
        for new, old in self.heirs.items():
            known = [run for run in earlier if new in self.points[run]]
            if new in self.points[run_id] and len(known) <= young:
                last = [run for run in earlier if run not in known][-1]
                found[new] = Predecessor(old, self._history(old, last, nights))
        return found

    def canary_history(self, run_id: str, nights: int) -> dict[tuple[str, str], tuple[Point, ...]]:
        names = {name for found in self.canaries.values() for name in found}
        return {name: tuple(Point(run, found[name]) for run, found in sorted(self.canaries.items())) for name in names}

    def judgements(self, run_id: str, nights: int) -> list[JudgementRecord]:
        earlier = sorted(run for run in self.runs if run < run_id)[-nights:]
        return [
            record
            for run in earlier
            for record in self.runs[run]
            if isinstance(record, JudgementRecord) and record.change is not None
        ]

    def set_baselines(self, rows: Sequence[Baseline]) -> None:
        for key, since, why, anchor in rows:
            self.baselines[key] = (since, why, anchor)

    def last_completed(self, run_id: str) -> str | None:
        return max((run for run in self.runs if run < run_id), default=None)

    def records(self, run_id: str, *kinds: type[Record]) -> list[Record]:
        return [record for record in self.runs.get(run_id, []) if isinstance(record, kinds)]

    def run_started(self, run_id: str) -> RunStarted | None:
        return next((each for each in self.runs.get(run_id, []) if isinstance(each, RunStarted)), None)

    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]:
        return [alert for alert in self.book if alert.state.live or not live]

    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]:
        raised = []
        for finding in findings:
            known = [
                at
                for at, alert in enumerate(self.book)
                if alert.state.live and (alert.finding.kind, alert.finding.subject) == (finding.kind, finding.subject)
            ]
            if known:
                old = self.book[known[0]]
                nights = old.nights + (old.last_run_id != run_id)
                self.book[known[0]] = replace(old, finding=finding, last_run_id=run_id, nights=nights)
                raised.append(self.book[known[0]])
            else:
                new = Alert(len(self.book) + 1, suite, finding, AlertState.OPEN, run_id, now, run_id, 1)
                self.book.append(new)
                raised.append(new)
        return raised

    def recover(self, suite: str, run_id: str, closed: Closed, now: datetime) -> list[Alert]:
        over = []
        for at, alert in enumerate(self.book):
            why = closed.get((alert.finding.kind, alert.finding.subject))
            if alert.state.live and why is not None:
                self.book[at] = replace(alert, state=AlertState.RESOLVED, closed_at=now, why=why)
                over.append(self.book[at])
        return over

    def live(self) -> dict[tuple[AlertKind, str], Alert]:
        return {(alert.finding.kind, alert.finding.subject): alert for alert in self.alerts(live=True)}


def confirming(answer: Callable[[Suspect], Outcome | None], asked: list[Suspect]) -> Confirm:
    """Re-runs that ``answer``; ``None`` where there was no time. ``asked`` gets every suspect there was."""

    def confirm(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        asked.extend(suspects)
        found = []
        for number, each in enumerate(suspects):
            outcome = answer(each)
            if outcome is not None:
                record = ConfirmationRecord(
                    session.run_id, f"{session.run_id}-{number}", each.key.suite, each.key.fingerprint, each.key.metric,
                    outcome, "as pairs show", each.good_run_id, {"package torch": "2.12.0 -> 2.13.0"}, {},
                    Estimate(each.change.ratio), 4, 1,
                )  # fmt: skip
                session.record(record)
                found.append(record)
        return found

    return confirm


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class World:
    """A machine on which nights pass quickly."""

    home: Path
    book: Book = field(default_factory=Book)
    memory: Memory | None = None
    """What is judged with; the ``book`` if not given."""
    judge: str = "{}"
    answer: Callable[[Suspect], Outcome | None] = lambda suspect: Outcome.CONFIRMED
    asked: list[Suspect] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    context: dict[str, str] = field(default_factory=lambda: {"kernel": "6.1.0"})
    nights: int = 0

    @contextmanager
    def session(self, store: Any) -> Iterator[Session]:
        run_id = f"{self.nights:03}"
        settings = Settings.from_environment({"NIGHTBENCH_HOME": str(self.home), "HOME": str(self.home)})
        suite = parse_suite(SUITE_YAML.format(judge=self.judge), "test")
        lines = Spool.open(settings.spool, run_id)
        try:
            yield Session(
                run_id, suite, Plan(1, (), ()), Catalog({}, {}), settings, lines, Placement(None, None), "2 processors",
                self.context, store, self.home, self.notes,
            )  # fmt: skip
        finally:
            lines.close()

    def night(
        self,
        cells: Sequence[tuple[Case, Mapping[str, Any]]],
        records: Sequence[Record] = (),
        canaries: Mapping[tuple[str, str], float] | None = None,
        confirm: Confirm | None = None,
    ) -> Judged | None:
        """One night with these cells, each as `cell_rounds` takes it, and judged at its end."""
        self.nights += 1
        run_id = f"{self.nights:03}"
        if canaries is not None:
            self.book.canaries[run_id] = dict(canaries)
        store = self.memory or self.book
        with self.session(store) as session:
            now = DAWN + timedelta(days=self.nights)
            session.record(RunStarted(run_id, "nightly", 1, now, "2 processors", dict(self.context), SUITE_YAML, 1))
            made: list[Record] = [replace(artifact(of), run_id=run_id) for of, _ in cells[:1]]
            made += [replace(each, run_id=run_id) for of, how in cells for each in cell_rounds(of, **how)]
            for record in [*made, *records]:
                session.record(record)
            self.before_judging(session)
            judged = judge_night(session, confirm=confirm or confirming(self.answer, self.asked))
            session.record(RunFinished(run_id, now + timedelta(hours=1), "completed", {}))
        self.after_night(settings=session.settings, run_id=run_id)
        return judged

    def past(self, cells: Collection[Case], nights: int = 14, noise: float = 0.01) -> None:
        """So many calm nights of these cells, as if they had been measured."""
        random = np.random.default_rng(1)
        for _ in range(nights):
            self.nights += 1
            run_id = f"{self.nights:03}"
            started = DAWN + timedelta(days=self.nights)
            self.book.runs[run_id] = [
                RunStarted(run_id, "nightly", 1, started, "2 processors", dict(self.context), SUITE_YAML, 1)
            ]
            usual = [record for of in cells for record in cell_rounds(of, rounds=2)]
            self.book.put_points(
                run_id,
                [
                    replace(each, figure=around(each.figure.value * float(np.exp(noise * random.standard_normal()))))
                    for each in points_of(night_of(*usual), "nightly")
                ],
            )

    def before_judging(self, session: Session) -> None:
        """An hour of measuring, after a wait for another run."""
        session.ledger.add("measure", 3_600_000_000_000)
        session.ledger.add("waiting", 9_000_000_000_000)

    def after_night(self, settings: Settings, run_id: str) -> None:
        from tasks.report import spooled_records

        self.book.runs[run_id] = list(spooled_records(settings, run_id))


def deployed(case: Case, number: int, failure: str | None = None) -> DeploymentRecord:
    return DeploymentRecord(
        "any", f"{case.server}-{case.model}-{number}", number, case.server, "1.0", "env", case.model, case.format,
        case.precision, case.options, DAWN, None, None, None, {}, "log", "died" if failure else None, failure,
    )  # fmt: skip
