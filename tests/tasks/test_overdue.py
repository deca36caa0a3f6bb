"""A gap is one alert: it opens when a night is overdue, and is over when a night completes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from db.query import Night
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding
from tasks.overdue import Missed, gap_over, missed_nights

START = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Runs:
    """What the database does with runs and alerts, as far as one suite goes."""

    nights: list[Night] = field(default_factory=list)
    known: list[Alert] = field(default_factory=list)

    def completed(self, day: int, hardware: str = "2 cpus") -> None:
        begun = START + day * DAY
        self.nights.append(
            Night(
                f"night-{day}" + (hardware != "2 cpus") * "-big",
                *("nightly", begun, begun + timedelta(hours=1), "completed", 1, 1, 0, 0, hardware),
            )
        )

    def history(self, limit: int = 20, suite: str | None = None) -> list[Night]:
        return self.nights[::-1][:limit]

    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]:
        return [alert for alert in self.known if alert.state.live or not live]

    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]:
        (finding,) = findings
        if not self._live(finding.subject):
            number = len(self.known) + 1
            self.known.append(Alert(number, suite, finding, AlertState.OPEN, run_id, now, run_id, 1))
        return self._live(finding.subject)

    def _live(self, subject: str) -> list[Alert]:
        return [alert for alert in self.alerts(live=True) if alert.finding.subject == subject]

    def recover(
        self, suite: str, run_id: str, closed: Mapping[tuple[AlertKind, str], str], now: datetime
    ) -> list[Alert]:
        ((kind, subject),) = closed
        assert kind is AlertKind.MISSING_NIGHT
        live = self._live(subject)
        over = [replace(alert, state=AlertState.RESOLVED) for alert in live]
        self.known = [alert for alert in self.known if alert not in live] + over
        return over


def looked(runs: Runs, day: float) -> list[Missed]:
    return missed_nights(runs, START + day * DAY)


def test_a_gap_ends_with_the_night_that_comes_after_all_and_the_next_gap_is_news() -> None:
    runs = Runs()
    for day in range(10):
        runs.completed(day)
    assert looked(runs, 10) == []
    (first,) = looked(runs, 11)
    (again,) = looked(runs, 12)
    assert (first.news, again.news) == (True, False)
    assert first.alerts == again.alerts
    runs.completed(12)
    (back,) = looked(runs, 12.1)
    assert ([alert.number for alert in back.over], back.alerts, back.news) == ([1], (), False)
    assert looked(runs, 12.2) == []
    (other,) = looked(runs, 14)
    assert (other.news, [alert.number for alert in other.alerts], other.run_id) == (True, [2], "night-12")


def test_a_night_that_came_unseen_between_two_gaps_ends_the_first() -> None:
    runs = Runs()
    for day in range(10):
        runs.completed(day)
    looked(runs, 11)
    runs.completed(12)
    (both,) = looked(runs, 14)
    assert ([alert.number for alert in both.over], [alert.number for alert in both.alerts]) == ([1], [2])
    assert both.news


def test_the_nights_of_one_kind_of_machine_do_not_stand_for_anothers() -> None:
    runs = Runs()
    for day in range(20):
        runs.completed(day)
        if day < 10:
            runs.completed(day, "8 cpus")
    (missed,) = looked(runs, 19.5)
    (alert,) = missed.alerts
    assert (missed.hardware, missed.run_id, missed.news) == ("8 cpus", "night-9-big", True)
    assert (alert.finding.subject, alert.finding.title) == (
        "nightly on 8 cpus",
        "nightly on 8 cpus: no night began",
    )
    runs.completed(20)
    # Only a night of the same kind of machine ends the gap.
    assert gap_over(runs, "nightly", "2 cpus", START + 20.1 * DAY) == []
    assert gap_over(runs, "nightly", "8 cpus", START + 20.1 * DAY) == []
    runs.completed(20, "8 cpus")
    assert [over.number for over in gap_over(runs, "nightly", "8 cpus", START + 20.2 * DAY)] == [1]
