"""A gap is one alert: it opens when a night is overdue, and is over when a night completes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from db.query import Night
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding
from tasks.overdue import Missed, missed_nights

START = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Runs:
    """What the database does with runs and alerts, as far as one subject goes."""

    nights: list[Night] = field(default_factory=list)
    known: list[Alert] = field(default_factory=list)

    def completed(self, day: int) -> None:
        begun = START + day * DAY
        self.nights.append(
            Night(f"night-{day}", "nightly", begun, begun + timedelta(hours=1), "completed", 1, 1, 0, 0, "2 cpus")
        )

    def history(self, limit: int = 20, suite: str | None = None) -> list[Night]:
        return self.nights[::-1][:limit]

    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]:
        return [alert for alert in self.known if alert.state.live or not live]

    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]:
        if not self.alerts(live=True):
            number = len(self.known) + 1
            self.known += [
                Alert(number, suite, finding, AlertState.OPEN, run_id, now, run_id, 1) for finding in findings
            ]
        return self.alerts(live=True)

    def recover(
        self, suite: str, run_id: str, closed: Mapping[tuple[AlertKind, str], str], now: datetime
    ) -> list[Alert]:
        assert set(closed) == {(AlertKind.MISSING_NIGHT, suite)}
        over = [replace(alert, state=AlertState.RESOLVED) for alert in self.alerts(live=True)]
        self.known = over
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
