"""What becomes of alerts that live."""

from dataclasses import astuple, replace
from datetime import UTC, datetime

from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding, Member
from nightbench.judge.night import NightSeries
from nightbench.judge.series import Metric, Predecessor, SeriesKey
from nightbench.judge.standing import not_found_again, standing, undecided
from nightbench.judge.verdict import Change, Verdict
from nightbench.record import JudgementRecord
from tests.nightbench.judged import NIGHTS, SUITE, series

NOW = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)


def alert(*of: NightSeries, after: float = 120.0, kind: AlertKind = AlertKind.REGRESSION, subject: str = "s") -> Alert:
    change = Change("night-30", "night-29", 1, Estimate(100.0), Estimate(after), 1e-6, firm=True)
    members = tuple(Member(each.key, each.label, change) for each in of)
    return Alert(1, SUITE, Finding(kind, subject, "t", "d", members), AlertState.OPEN, "night-30", NOW, "night-30", 3)


def test_what_is_still_slow_goes_on() -> None:
    each = series([120.0, 119.0, 121.0])
    found = standing([alert(each)], [each])
    assert [finding.subject for finding in found.continued] == ["s"]
    assert found.held == {each.key}
    assert (found.closed, found.baselines) == ({}, ())


def test_two_nights_back_at_the_old_level_are_a_recovery() -> None:
    each = series([120.0, 101.0, 99.0])
    found = standing([alert(each)], [each])
    assert set(found.closed) == {(AlertKind.REGRESSION, "s")}
    assert (found.continued, found.held) == ((), frozenset())
    assert found.baselines == ((each.key, NIGHTS[-2], "recovered", Estimate(100.0)),)


def test_one_good_night_is_none() -> None:
    each = series([120.0, 121.0, 99.0])
    found = standing([alert(each)], [each])
    assert len(found.continued) == 1
    assert found.held == {each.key}


def test_a_rate_recovers_upwards() -> None:
    each = series([80.0, 99.0, 101.0], metric=Metric.THROUGHPUT_RPS)
    assert standing([alert(each, after=80.0)], [each]).closed
    worse = series([80.0, 60.0, 60.0], metric=Metric.THROUGHPUT_RPS)
    assert not standing([alert(worse, after=80.0)], [worse]).closed


def test_a_member_that_recovered_leaves_the_others() -> None:
    back, slow = series([120.0, 100.0, 100.0], "a"), series([120.0, 120.0, 120.0], "b")
    found = standing([alert(back, slow)], [back, slow])
    assert found.closed == {}
    ((finding),) = found.continued
    assert [member.key for member in finding.members] == [slow.key]
    assert [key for key, *_ in found.baselines] == [back.key]


def test_a_doubted_or_missing_night_says_nothing() -> None:
    each = series([120.0, 100.0, 100.0], doubts=["errors"])
    for tonight in ([each], []):
        found = standing([alert(each)], tonight)
        assert (found.continued, found.closed, found.baselines) == ((), {}, ())


def test_what_took_a_members_place_answers_for_it() -> None:
    old = series([120.0])
    new = replace(series([101.0], model="other"), predecessor=Predecessor(old.key, old.history))
    found = standing([alert(old)], [new])
    assert found.closed
    assert found.baselines == ((new.key, NIGHTS[-1], "recovered", Estimate(100.0)),)
    slow = replace(series([121.0], model="other"), predecessor=Predecessor(old.key, old.history))
    (finding,) = standing([alert(old)], [slow]).continued
    assert [member.key for member in finding.members] == [slow.key], "from now on it is the one to follow"


def test_alerts_of_other_kinds_are_over_when_they_were_looked_for_and_not_found() -> None:
    gone, there, unseen = (alert(kind=AlertKind.PARITY, subject=name) for name in ("gone", "there", "unseen"))
    looked_at = {(AlertKind.PARITY, "gone"), (AlertKind.PARITY, "there")}
    assert set(not_found_again([gone, there, unseen], [there.finding], looked_at)) == {(AlertKind.PARITY, "gone")}


def judged(each: NightSeries, verdict: Verdict, confirmation_id: str | None = None) -> JudgementRecord:
    return JudgementRecord("n", *astuple(each.key), verdict, "", None, confirmation_id)


def test_an_undecided_alert_waits_until_all_its_series_have_an_answer() -> None:
    one, two = series([120.0, 121.0, 120.0], "a"), series([120.0, 120.0, 120.0], "b")
    waiting = alert(one, two, kind=AlertKind.UNCONFIRMED)

    def left(*judgements: JudgementRecord) -> list[SeriesKey]:
        by_key = {SeriesKey(each.suite, each.fingerprint, each.metric): each for each in judgements}
        return [member.key for member in undecided([waiting], by_key, [one, two])[AlertKind.UNCONFIRMED, "s"]]

    refuted = judged(one, Verdict.OK, "c1")
    assert left(refuted, judged(two, Verdict.SUSPECTED)) == [two.key]
    assert left(refuted) == [two.key]
    assert left(refuted, judged(two, Verdict.REGRESSED)) == []
    assert left(refuted, judged(two, Verdict.ENVIRONMENT)) == []
    assert left(refuted, judged(two, Verdict.INVALID)) == [two.key]


def test_history_that_got_used_to_a_level_is_no_answer_and_a_return_is() -> None:
    same, back = series([120.0, 121.0, 120.0], "a"), series([120.0, 101.0, 99.0], "b")
    waiting = alert(same, back, kind=AlertKind.UNCONFIRMED)
    judgements = {each.key: judged(each, Verdict.OK) for each in (same, back)}
    ((members),) = undecided([waiting], judgements, [same, back]).values()
    assert [member.key for member in members] == [same.key]
