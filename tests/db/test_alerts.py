"""One alert for one thing, however often and by however many it is raised; and every change of it kept."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from db.engine import open_engine
from db.store import Store
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState
from nightbench.judge.series import Metric
from tests.db.conftest import DAWN
from tests.db.judging import KEY, change, finding, nights_of, run

NOW = DAWN + timedelta(days=9)
GONE = {(AlertKind.REGRESSION, "onnxruntime"): "back at the level from before"}


def test_an_alert_goes_on_from_night_to_night_and_knows_the_latest(store: Store) -> None:
    (first,) = store.raise_alerts("smoke", run(3), [finding()], NOW)
    assert first == Alert(first.number, "smoke", finding(), AlertState.OPEN, run(3), NOW, run(3), 1)
    later = finding(members=(change(), change(key=replace(KEY, metric=Metric.LATENCY_P50_NS))))
    (second,) = store.raise_alerts("smoke", run(4), [later], NOW + timedelta(days=1))
    assert second == replace(first, finding=later, last_run_id=run(4), nights=2)
    assert store.alert(first.number) == second
    assert store.alerts(live=True) == [second]


def test_a_night_judged_twice_counts_once(store: Store) -> None:
    store.raise_alerts("smoke", run(3), [finding()], NOW)
    (again,) = store.raise_alerts("smoke", run(3), [finding(members=())], NOW + timedelta(hours=1))
    assert (again.nights, again.opened_at, again.finding.members) == (1, NOW, ())
    (later,) = store.raise_alerts("smoke", run(4), [finding()], NOW)
    # An old night judged again does not take the place of the newest.
    (still,) = store.raise_alerts("smoke", run(3), [finding(members=())], NOW)
    assert still == later


def test_kinds_subjects_and_suites_are_alerts_of_their_own(store: Store) -> None:
    several = [finding(), finding("triton"), finding(kind=AlertKind.UNCONFIRMED), finding()]
    assert len(store.raise_alerts("smoke", run(3), several, NOW)) == 3
    assert len(store.raise_alerts("nightly", run(3), [finding()], NOW)) == 1
    assert [alert.suite for alert in store.alerts(suite="nightly")] == ["nightly"]
    assert len(store.alerts(limit=2)) == 2


@pytest.mark.parametrize("end", [AlertState.RESOLVED, AlertState.FALSE])
def test_what_was_closed_opens_no_more_by_the_same_night(store: Store, end: AlertState) -> None:
    (opened,) = store.raise_alerts("smoke", run(3), [finding()], NOW)
    closed = store.change_alert(opened.number, end, "a firewall", NOW + timedelta(hours=1))
    assert (closed.state, closed.why, closed.closed_at) == (end, "a firewall", NOW + timedelta(hours=1))
    assert store.raise_alerts("smoke", run(3), [finding()], NOW) == []
    assert store.alerts(live=True) == []


def test_what_comes_back_is_another_alert(store: Store) -> None:
    (opened,) = store.raise_alerts("smoke", run(3), [finding()], NOW)
    (resolved,) = store.recover("smoke", run(4), GONE, NOW)
    assert (resolved.number, resolved.state, resolved.why) == (opened.number, AlertState.RESOLVED, *GONE.values())
    (again,) = store.raise_alerts("smoke", run(5), [finding()], NOW)
    assert again.number != opened.number
    assert (again.nights, again.opened_run_id) == (1, run(5))


def test_a_change_that_a_person_called_false_is_not_raised_night_after_night(store: Store) -> None:
    nights_of(store, *range(8))
    (opened,) = store.raise_alerts("smoke", run(4), [finding()], NOW)
    store.change_alert(opened.number, AlertState.FALSE, "the load was another", NOW)
    assert store.raise_alerts("smoke", run(5), [finding()], NOW) == [], "the same change, from night 3 on"
    other = change(key=replace(KEY, metric=Metric.LATENCY_P50_NS))
    assert len(store.raise_alerts("smoke", run(5), [finding(members=(change(), other))], NOW)) == 1
    store.change_alert(opened.number + 1, AlertState.FALSE, "again", NOW)
    assert len(store.raise_alerts("smoke", run(7), [finding(members=(change(since=run(6)),))], NOW)) == 1, (
        "a new change"
    )


def test_without_series_each_night_is_news(store: Store) -> None:
    gone = finding("night", AlertKind.MISSING_NIGHT, ())
    (opened,) = store.raise_alerts("smoke", "missing 2026-11-20", [gone], NOW)
    store.change_alert(opened.number, AlertState.FALSE, "a holiday", NOW)
    assert len(store.raise_alerts("smoke", "missing 2026-11-21", [gone], NOW)) == 1


def test_recovery_ends_what_it_names_and_nothing_else(store: Store) -> None:
    store.raise_alerts("smoke", run(3), [finding(), finding("triton")], NOW)
    store.raise_alerts("nightly", run(3), [finding()], NOW)
    (resolved,) = store.recover("smoke", run(4), GONE, NOW)
    assert resolved.finding.subject == "onnxruntime"
    assert {(alert.suite, alert.finding.subject) for alert in store.alerts(live=True)} == {
        ("smoke", "triton"),
        ("nightly", "onnxruntime"),
    }
    assert store.recover("smoke", run(4), GONE, NOW) == []


def test_every_change_is_kept_with_who_and_why(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "mira")
    (opened,) = store.raise_alerts("smoke", run(3), [finding()], NOW)
    store.change_alert(opened.number, AlertState.ACKNOWLEDGED, " looking\0 ", NOW)
    store.recover("smoke", run(4), GONE, NOW)
    store.change_alert(opened.number, AlertState.FALSE, "the cable", NOW)
    told = [(event.before, event.after, event.who, event.by_person, event.why) for event in store.alert_events(1)]
    assert told == [
        (None, "open", "judge", False, "onnxruntime is 10 % slower"),
        ("open", "acknowledged", "mira", True, "looking\ufffd"),
        ("acknowledged", "resolved", "recovery", False, "back at the level from before"),
        ("resolved", "false", "mira", True, "the cable"),
    ]
    assert store.alert(1).closed_at == NOW


def test_what_cannot_be_is_said_in_a_sentence(store: Store) -> None:
    (opened,) = store.raise_alerts("smoke", run(3), [finding()], NOW)
    for number in (opened.number + 1, 0, -1, 2**40):
        with pytest.raises(UsageError, match=f"alert {number}: there is none of this number"):
            store.change_alert(number, AlertState.FALSE, "why", NOW)
    with pytest.raises(UsageError, match="--why: is empty"):
        store.change_alert(opened.number, AlertState.FALSE, "  ", NOW)
    store.change_alert(opened.number, AlertState.RESOLVED, "rolled back", NOW)
    with pytest.raises(
        UsageError, match="alert 1: is resolved and cannot become acknowledged: rolled back; what comes"
    ):
        store.change_alert(opened.number, AlertState.ACKNOWLEDGED, "why", NOW)


def test_many_at_once_open_one_alert(store: Store) -> None:
    def raised(number: int) -> list[Alert]:
        return store.raise_alerts("smoke", run(number), [finding(), finding("triton")], NOW)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(raised, [3, 4, 5, 6] * 2))
    assert {alert.number for alerts in found for alert in alerts} == {1, 2}
    assert [alert.nights for alert in store.alerts()] == [4, 4]


def test_a_finding_of_any_text_and_figure_comes_back(store: Store) -> None:
    odd = replace(finding("a\0b" + "x" * 2000), title="\ud800?", changed={"k\0": "v\0"}, detail="d" * 10**6)
    member = replace(change(), label="l\0", ratio=Estimate(float("nan"), float("-inf")))
    (alert,) = store.raise_alerts("smoke", run(3), [replace(odd, members=(member,))], NOW)
    assert alert.finding.subject == "a\ufffdb" + "x" * 2000
    assert (alert.finding.title, alert.finding.changed) == ("??", {"k\ufffd": "v\ufffd"})
    assert alert.finding.members[0].label == "l\ufffd"
    assert str(alert.finding.members[0].ratio) == str(member.ratio)
    assert store.raise_alerts("smoke", run(4), [odd], NOW)[0].nights == 2


def test_precision_counts_what_people_judged(store: Store, url: str) -> None:
    subjects = "abcdefg"
    alerts = store.raise_alerts("smoke", run(3), [finding(name) for name in subjects], NOW)
    numbers = {alert.finding.subject: alert.number for alert in alerts}
    for name, *states in (("a", "false"), ("b", "resolved"), ("c", "acknowledged"), ("d", "acknowledged", "resolved")):
        for state in states:
            store.change_alert(numbers[name], AlertState(state), "so", NOW)
    # Acknowledged, then recovered: true. Recovered unseen: nobody judged it. Acknowledged and open: not yet.
    store.change_alert(numbers["e"], AlertState.ACKNOWLEDGED, "so", NOW)
    store.recover("smoke", run(4), {(AlertKind.REGRESSION, name): "back" for name in "ef"}, NOW)
    store.raise_alerts("smoke", run(4), [finding("old")], NOW - timedelta(days=90))
    found = store.precision(90, NOW)
    assert (found.raised, found.judged, found.false, found.true) == (7, 4, 1, 3)
    assert found.share is not None
    assert found.share.value == 0.75
    with open_engine(url, pooled=False).begin() as connection:
        connection.execute(text("UPDATE alerts SET opened_at = now()"))
        (row, every) = connection.execute(text("SELECT * FROM alert_precision ORDER BY kind DESC")).all()
    assert (row.kind, every.kind, row.raised, row.judged, row.true_alerts) == ("regression", "all", 8, 4, 3)
    assert (every.share_low, every.share_high) == pytest.approx((found.share.low, found.share.high), rel=1e-6)


def test_where_nobody_judged_there_is_no_precision(store: Store, url: str) -> None:
    assert store.precision(90, NOW).share is None
    store.raise_alerts("smoke", run(3), [finding()], NOW)
    with open_engine(url, pooled=False).connect() as connection:
        assert all(row.share is None for row in connection.execute(text("SELECT * FROM alert_precision")))


SUITES = count()
SUBJECTS = ("a", "b")
STATES = st.sampled_from([AlertState.ACKNOWLEDGED, AlertState.RESOLVED, AlertState.FALSE])


class _Life(RuleBasedStateMachine):
    """Alerts against a model that is a handful of dictionaries."""

    store: Store

    @initialize()
    def begin(self) -> None:
        self.suite = f"suite-{next(SUITES)}"
        self.night = 0
        self.alerts: dict[int, tuple[str, AlertState, set[int]]] = {}
        self.events: dict[int, int] = {}

    def _live(self, subject: str) -> int | None:
        return next((n for n, (of, state, _) in self.alerts.items() if of == subject and state.live), None)

    @rule(subjects=st.sets(st.sampled_from(SUBJECTS)), again=st.booleans())
    def judge(self, subjects: set[str], again: bool) -> None:
        self.night += not again
        # Without members: what a person called false may be raised anew.
        given = [finding(subject, AlertKind.FAILED_SERVER, ()) for subject in sorted(subjects)]
        expected = set()
        raised = self.store.raise_alerts(self.suite, f"{self.suite}-{self.night}", given, NOW)
        for subject in subjects:
            live = self._live(subject)
            seen = any(of == subject and self.night in nights for of, _, nights in self.alerts.values())
            if live is not None:
                self.alerts[live][2].add(self.night)
                expected.add(live)
            elif not seen:
                (new,) = (alert.number for alert in raised if alert.finding.subject == subject)
                assert new not in self.alerts
                self.alerts[new] = (subject, AlertState.OPEN, {self.night})
                self.events[new] = 1
                expected.add(new)
        assert {alert.number for alert in raised} == expected

    @rule(subjects=st.sets(st.sampled_from(SUBJECTS)))
    def get_well(self, subjects: set[str]) -> None:
        over = {(AlertKind.FAILED_SERVER, subject): "came up" for subject in subjects}
        recovered = self.store.recover(self.suite, f"{self.suite}-{self.night}", over, NOW)
        expected = {number for subject in subjects if (number := self._live(subject)) is not None}
        assert {alert.number for alert in recovered} == expected
        for number in expected:
            self._become(number, AlertState.RESOLVED)

    @precondition(lambda self: self.alerts)
    @rule(data=st.data(), to=STATES)
    def say(self, data: st.DataObject, to: AlertState) -> None:
        number = data.draw(st.sampled_from(sorted(self.alerts)))
        state = self.alerts[number][1]
        allowed = to is not AlertState.ACKNOWLEDGED if state is not AlertState.OPEN else True
        if not allowed or (state, to) == (AlertState.FALSE, AlertState.FALSE):
            with pytest.raises(UsageError):
                self.store.change_alert(number, to, "so", NOW)
        else:
            self.store.change_alert(number, to, "so", NOW)
            self._become(number, to)

    def _become(self, number: int, state: AlertState) -> None:
        subject, _, nights = self.alerts[number]
        self.alerts[number] = (subject, state, nights)
        self.events[number] += 1

    @invariant()
    def agree(self) -> None:
        stored = self.store.alerts(suite=self.suite)
        assert {alert.number: (alert.finding.subject, alert.state, alert.nights) for alert in stored} == {
            number: (subject, state, len(nights)) for number, (subject, state, nights) in self.alerts.items()
        }
        live = [alert.finding.subject for alert in stored if alert.state.live]
        assert len(live) == len(set(live))
        assert all((alert.closed_at is None) == alert.state.live for alert in stored)

    def teardown(self) -> None:
        for number, times in self.events.items():
            events = self.store.alert_events(number)
            assert len(events) == times
            assert [event.before for event in events[1:]] == [event.after for event in events[:-1]]


def test_whatever_happens_the_life_of_an_alert_is_a_chain_of_reasons(store: Store) -> None:
    bound = type("Life", (_Life,), {"store": store})
    run_state_machine_as_test(bound, settings=settings(max_examples=25, stateful_step_count=15, deadline=None))
