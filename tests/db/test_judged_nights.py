"""Nights judged on a real database: what one night leaves is what the next one is judged by."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from db.store import Store
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState
from nightbench.judge.series import Metric, SeriesKey
from nightbench.judge.verdict import Outcome, Verdict
from nightbench.record import Case, ConfirmationRecord, Record, RunFinished
from nightbench.settings import Settings
from tasks.ab.afterwards import Settled, settle_alert
from tasks.judge import Judged, judge_night
from tasks.report import spooled_records
from tasks.session import Session
from tests.flows.judging import DAWN, World, confirming
from tests.nightbench.judged import case, plain_rule

__all__ = ["plain_rule"]

pytestmark = pytest.mark.usefixtures("plain_rule")

CELLS = [case(server) for server in ("a", "b", "c")]
A = CELLS[0]
SLOW = {"rps": 85.0, "p50_ms": 4.7, "p99_ms": 10.6}


@dataclass
class Stored(World):
    """Nights that go through the spool into Postgres and are judged from there."""

    store: Store | None = None

    @property
    def database(self) -> Store:
        assert self.store is not None
        return self.store

    def past(self, cells: Collection[Case], nights: int = 14, noise: float = 0.01) -> None:
        super().past(cells, nights, noise)
        for run_id, records in self.book.runs.items():
            ends = RunFinished(run_id, DAWN + timedelta(days=int(run_id), hours=1), "completed", {})
            self.database.ingest([*records, ends])
            self.database.put_points(run_id, list(self.book.points[run_id].values()))

    def before_judging(self, session: Session) -> None:
        super().before_judging(session)
        self.database.ingest(spooled_records(session.settings, session.run_id))

    def after_night(self, settings: Settings, run_id: str) -> None:
        refused = self.database.ingest(spooled_records(settings, run_id)).refused
        assert refused == ()


@pytest.fixture
def world(store: Store, tmp_path: Path) -> Stored:
    made = Stored(tmp_path, memory=store, store=store)
    made.past(CELLS)
    return made


def night(world: Stored, *slow: Case, records: Collection[Record] = ()) -> Judged:
    cells = [(each, {"rounds": 2, **(SLOW if each in slow else {})}) for each in CELLS]
    judged = world.night(cells, list(records))
    assert judged is not None, world.notes.lines
    return judged


def test_a_regression_from_suspicion_to_recovery(world: Stored) -> None:
    (alert,) = night(world, A).opened
    assert (alert.finding.kind, alert.finding.subject) == (AlertKind.REGRESSION, "server a, model resnet")
    assert alert.finding.members[0].change.last_before == "014"
    again = night(world, A)
    assert [(each.number, each.nights) for each in again.alerts] == [(alert.number, 2)]
    assert again.verdicts[Verdict.REGRESSED] == 3
    assert night(world).recovered == ()
    (over,) = night(world).recovered
    assert (over.number, over.state) == (alert.number, AlertState.RESOLVED)
    key = SeriesKey("nightly", A.fingerprint, Metric.LATENCY_P50_NS)
    history = world.database.series_of(f"{world.nights:03}", 50)[key]
    assert (history.since, len(history.points)) == ("017", 2)
    assert history.anchor is not None
    assert history.anchor.value == pytest.approx(4e6, rel=0.02)
    assert world.database.alerts(live=True) == []


def test_a_refuted_change_is_remembered(world: Stored) -> None:
    world.answer = lambda suspect: Outcome.REFUTED
    night(world, A)
    night(world, A)  # history is firm from the second night on
    asked = len(world.asked)
    night(world, A)
    assert len(world.asked) == asked
    assert world.database.alerts() == []


def by_hand(world: Stored, alert: Alert, outcome: Outcome) -> Settled:
    """A re-run that somebody asked for decides every series of ``alert``."""
    found = [
        ConfirmationRecord(
            *(alert.last_run_id, f"{alert.last_run_id}-hand", each.key.suite, each.key.fingerprint, each.key.metric),
            *(outcome, "as pairs show", each.change.last_before, {"package torch": "1 -> 2"}, {}),
            *(Estimate(each.change.ratio), 8, 1),
        )
        for each in alert.finding.members
    ]
    world.database.ingest(found)
    return settle_alert(world.database, alert, found, DAWN + timedelta(days=world.nights, hours=5))


def undecided(world: Stored) -> Alert:
    """The alert of two slow nights that had no time for re-runs."""
    world.answer = lambda suspect: None
    night(world, A)
    night(world, A)
    (alert,) = world.database.alerts(live=True)
    assert alert.finding.kind is AlertKind.UNCONFIRMED
    return alert


@pytest.mark.parametrize("outcome", [Outcome.REFUTED, Outcome.ENVIRONMENT])
def test_what_was_refuted_by_hand_is_remembered_as_if_the_night_had(world: Stored, outcome: Outcome) -> None:
    by_hand(world, undecided(world), outcome)
    asked = len(world.asked)
    found = {alert.finding.kind for _ in range(3) for alert in night(world, A).alerts}
    assert found == (set() if outcome is Outcome.REFUTED else {AlertKind.ENVIRONMENT})
    assert len(world.asked) == asked


def test_what_was_confirmed_by_hand_lives_on_and_recovers(world: Stored) -> None:
    alert = undecided(world)
    # Nights go by while the re-run is asked for, waits and works.
    night(world, A)
    (regression,) = by_hand(world, alert, Outcome.CONFIRMED).confirmed
    assert [each.number for each in world.database.alerts(live=True)] == [regression.number]
    (found,) = night(world, A).alerts
    assert (found.number, found.finding.kind) == (regression.number, AlertKind.REGRESSION)
    night(world)
    night(world)
    assert world.database.alerts(live=True) == []


def test_a_slow_machine_is_one_alert_and_then_the_baseline(world: Stored) -> None:
    world.answer = lambda suspect: Outcome.ENVIRONMENT
    for _ in range(4):
        night(world, *CELLS)
    (alert,) = world.database.alerts()
    assert (alert.finding.kind, alert.finding.subject) == (AlertKind.ENVIRONMENT, "machine")
    assert not alert.state.live
    assert len(world.asked) <= 2, "one a night, as a check, until history is sure"
    assert night(world, *CELLS).verdicts == {Verdict.INSUFFICIENT: 9}


def test_a_night_that_is_judged_again_says_the_same(world: Stored) -> None:
    first = night(world, A)
    with world.session(world.database) as session:
        again = judge_night(session, confirm=confirming(world.answer, world.asked))
    assert again is not None
    assert [each.number for each in again.alerts] == [each.number for each in first.alerts]
    assert len(world.database.alerts()) == 1
