"""An alert that the night could not decide, after a re-run that somebody asked for."""

from dataclasses import replace
from datetime import timedelta

import pytest

from db.store import Store
from nightbench.figures import Estimate
from nightbench.judge.alert import AlertKind, AlertState, Member
from nightbench.judge.message import Morning, message
from nightbench.judge.series import Metric
from nightbench.judge.verdict import Outcome
from nightbench.record import ConfirmationRecord
from tasks.ab.afterwards import settle_alert
from tests.db.conftest import DAWN
from tests.db.judging import KEY, change, finding, nights_of, run

NOW = DAWN + timedelta(days=9)
SLOWER = Estimate(0.88, 0.87, 0.89)
OTHER = replace(KEY, metric=Metric.LATENCY_P50_NS)


def undecided(store: Store, *members: Member) -> int:
    """An alert that no re-run could decide, found last on night 4."""
    nights_of(store, 100.0, 100.0, 100.0, 90.0, 90.0)
    told = finding(kind=AlertKind.UNCONFIRMED, members=members or (member(),))
    store.raise_alerts("smoke", run(3), [told], NOW - timedelta(days=2))
    (alert,) = store.raise_alerts("smoke", run(4), [told], NOW - timedelta(days=1))
    return alert.number


def member(of: Metric = KEY.metric) -> Member:
    return replace(change(key=replace(KEY, metric=of)), ratio=None, confirmation_id=None)


def record(outcome: Outcome, of: Metric = KEY.metric) -> ConfirmationRecord:
    ratio = None if outcome is Outcome.UNCONFIRMABLE else SLOWER
    return ConfirmationRecord(
        *(run(4), "c9", KEY.suite, KEY.fingerprint, of, outcome, f"{outcome} over 8 pairs", run(2)),
        *({"package torch": "1 -> 2"}, {}, ratio, 8, 10**9),
    )


def test_what_is_confirmed_is_a_regression_and_the_base_of_the_nights_to_come(store: Store) -> None:
    number = undecided(store)
    settled = settle_alert(store, store.alert(number), [record(Outcome.CONFIRMED)], NOW)
    (regression,) = settled.confirmed
    assert (regression.finding.kind, regression.state) == (AlertKind.REGRESSION, AlertState.OPEN)
    assert regression.finding.members[0].ratio == SLOWER
    assert "confirmed over 8 pairs" in regression.finding.detail
    assert regression.finding.changed == {"package torch": "1 -> 2"}
    over = store.alert(number)
    assert (over.state, over.why) == (AlertState.RESOLVED, "decided by a re-run: 1 series confirmed")
    assert store.alerts(live=True) == [regression]
    nights_of(store, 90.0, first=5)
    assert store.series_of(run(5), 20)[KEY].since == run(3)


def test_people_are_told_of_it_as_of_any_new_regression(store: Store) -> None:
    number = undecided(store)
    settled = settle_alert(store, store.alert(number), [record(Outcome.CONFIRMED)], NOW)
    said = message(Morning("smoke", run(4), settled.confirmed))
    assert said is not None
    assert said.subject == "nightbench smoke: 1 confirmed regression"
    assert "12.0 %" in said.plain or "12 %" in said.plain


@pytest.mark.parametrize("outcome", [Outcome.REFUTED, Outcome.ENVIRONMENT])
def test_what_is_no_servers_fault_is_over(store: Store, outcome: Outcome) -> None:
    number = undecided(store)
    settled = settle_alert(store, store.alert(number), [record(outcome)], NOW)
    assert [alert.number for alert in settled.over] == [number]
    assert settled.over[0].why == f"decided by a re-run: 1 series {outcome}"
    assert settled.over[0].finding.members[0].confirmation_id == "c9"
    assert (settled.confirmed, store.alerts(live=True)) == ((), [])


def test_what_is_undecided_still_stays_by_itself(store: Store) -> None:
    number = undecided(store, member(), member(Metric.LATENCY_P50_NS))
    found = [record(Outcome.CONFIRMED), record(Outcome.UNCONFIRMABLE, Metric.LATENCY_P50_NS)]
    settled = settle_alert(store, store.alert(number), found, NOW)
    assert [each.key for each in settled.confirmed[0].finding.members] == [KEY]
    left = store.alert(number)
    assert (left.state, left.nights) == (AlertState.OPEN, 2)
    assert [each.key for each in left.finding.members] == [OTHER]
    assert settled.over == ()


def test_a_series_joins_the_regression_that_is_open_about_its_server(store: Store) -> None:
    number = undecided(store)
    (known,) = store.raise_alerts("smoke", run(4), [finding(members=(change(key=OTHER),))], NOW)
    (regression,) = settle_alert(store, store.alert(number), [record(Outcome.CONFIRMED)], NOW).confirmed
    assert regression.number == known.number
    assert {each.key for each in regression.finding.members} == {KEY, OTHER}


@pytest.mark.parametrize("end", [AlertState.RESOLVED, AlertState.FALSE])
def test_what_a_person_closed_meanwhile_stays_closed(store: Store, end: AlertState) -> None:
    number = undecided(store)
    asked = store.alert(number)
    closed = store.change_alert(number, end, "known", NOW)
    settled = settle_alert(store, asked, [record(Outcome.CONFIRMED)], NOW)
    assert (settled.confirmed, settled.over) == ((), ())
    assert store.alert(number) == closed


def test_what_was_closed_by_hand_about_other_series_hides_no_new_regression(store: Store) -> None:
    number = undecided(store)
    (known,) = store.raise_alerts("smoke", run(4), [finding(members=(change(key=OTHER),))], NOW)
    store.change_alert(known.number, AlertState.RESOLVED, "mended", NOW)
    (regression,) = settle_alert(store, store.alert(number), [record(Outcome.CONFIRMED)], NOW).confirmed
    assert store.alerts(live=True) == [regression]


def test_what_a_person_called_false_before_is_neither_raised_nor_its_own_history(store: Store) -> None:
    number = undecided(store)
    (known,) = store.raise_alerts("smoke", run(4), [finding()], NOW)
    store.change_alert(known.number, AlertState.FALSE, "the rack was being rewired", NOW)
    settled = settle_alert(store, store.alert(number), [record(Outcome.CONFIRMED)], NOW)
    assert (settled.confirmed, store.alerts(live=True)) == ((), [])
    nights_of(store, 90.0, first=5)
    assert store.series_of(run(5), 20)[KEY].since is None


def test_a_series_that_a_later_night_added_is_undecided_still(store: Store) -> None:
    asked = store.alert(undecided(store))
    nights_of(store, 90.0, first=5)
    more = replace(asked.finding, members=(member(), member(Metric.LATENCY_P50_NS)))
    store.raise_alerts("smoke", run(5), [more], NOW)
    settled = settle_alert(store, asked, [record(Outcome.REFUTED)], NOW)
    left = store.alert(asked.number)
    assert (settled.over, left.state, left.last_run_id) == ((), AlertState.OPEN, run(5))
    assert [each.key for each in left.finding.members] == [OTHER]


def test_a_regression_that_later_nights_found_does_not_go_back(store: Store) -> None:
    number = undecided(store)
    nights_of(store, 80.0, first=5)
    (known,) = store.raise_alerts("smoke", run(5), [finding(members=(change(key=OTHER),))], NOW)
    store.set_baselines([(KEY, run(5), "regressed", None)])
    (regression,) = settle_alert(store, store.alert(number), [record(Outcome.CONFIRMED)], NOW).confirmed
    assert (regression.number, regression.last_run_id, regression.nights) == (known.number, run(5), 1)
    nights_of(store, 80.0, first=6)
    assert store.series_of(run(6), 20)[KEY].since == run(5)


def test_a_regression_that_was_confirmed_once_is_left_to_its_recovery(store: Store) -> None:
    nights_of(store, 100.0, 100.0, 100.0, 90.0, 90.0)
    (alert,) = store.raise_alerts("smoke", run(4), [finding()], NOW)
    settle_alert(store, alert, [record(Outcome.REFUTED)], NOW)
    assert store.alert(alert.number) == alert
