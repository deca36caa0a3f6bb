"""One night judged as a whole, before and after its re-runs, on made-up histories."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from nightbench.figures import Estimate
from nightbench.judge.environment import Fleet, Machine, machine_of
from nightbench.judge.night import NightSeries, Seen, changes_of, decided_before, look, suspects_of
from nightbench.judge.policy import ConfirmPolicy, JudgePolicy
from nightbench.judge.series import Metric, Predecessor, SeriesHistory, SeriesKey
from nightbench.judge.settle import Settled, settle
from nightbench.judge.verdict import Change, Outcome, Verdict
from nightbench.record import ConfirmationRecord, JudgementRecord
from tests.nightbench.judged import NIGHTS, SUITE, plain_rule, points, series, slower, steady

__all__ = ["plain_rule"]

pytestmark = pytest.mark.usefixtures("plain_rule")

POLICY = JudgePolicy()
TONIGHT = NIGHTS[-1]


def alone(each: NightSeries, past: Sequence[JudgementRecord] = (), policy: JudgePolicy = POLICY) -> Seen:
    (seen,) = look([each], changes_of([each], policy), policy, Machine(), decided_before(past))
    return seen


def decision(of: Seen, outcome: Outcome, ratio: float = 1.25) -> dict[SeriesKey, ConfirmationRecord]:
    key, change = of.series.key, of.change
    assert change is not None
    record = ConfirmationRecord(
        TONIGHT, f"c-{key.fingerprint[:6]}", key.suite, key.fingerprint, key.metric, outcome, "as pairs show",
        change.last_before, {"package torch": "2.12.0 -> 2.13.0"}, {}, Estimate(ratio, 0.98 * ratio), 4, 1,
    )  # fmt: skip
    return {key: record}


def settled(seen: Seen, outcome: Outcome | None, policy: JudgePolicy = POLICY) -> Settled:
    return settle(TONIGHT, [seen], {} if outcome is None else decision(seen, outcome), policy)


def test_a_steady_series_is_ok_and_gets_its_anchor_once() -> None:
    seen = alone(series(steady()))
    assert (seen.verdict, seen.change, seen.rerun) == (Verdict.OK, None, False)
    ((key, since, why, anchor),) = settled(seen, None).baselines
    assert (key, since, why) == (seen.series.key, NIGHTS[0], "anchor")
    assert anchor is not None
    assert anchor.value == pytest.approx(100.0, rel=0.02)
    assert settled(alone(series(steady(), anchor=anchor)), None).baselines == []


def test_a_doubted_night_is_never_judged() -> None:
    seen = alone(series([*steady()[:-1], 500.0], doubts=["foreign_load"]))
    assert (seen.verdict, seen.rerun) == (Verdict.INVALID, False)
    assert "foreign_load" in seen.detail
    assert settled(seen, None).baselines == []


def test_a_young_series_waits() -> None:
    seen = alone(series([100.0] * 6 + [200.0]))
    assert seen.verdict is Verdict.INSUFFICIENT
    assert "6 valid nights before tonight, of 10" in seen.detail


def test_what_got_slower_is_suspected_and_re_run() -> None:
    seen = alone(series(slower()))
    assert (seen.verdict, seen.rerun, seen.discovery, seen.worse) == (Verdict.SUSPECTED, True, True, True)
    (suspect,) = suspects_of([seen])
    assert seen.change is not None
    assert suspect.good_run_id == seen.change.last_before
    assert suspect.cell.setup.server == "triton"


def weak(of: Seen, p_value: float) -> Seen:
    assert of.change is not None
    return replace(of, change=replace(of.change, p_value=p_value, firm=False), rerun=True)


def order(seen: Sequence[Seen]) -> list[str]:
    return [each.cell.setup.server for each in suspects_of(seen)]


def test_the_surest_setups_are_re_run_first() -> None:
    a, b, c = (alone(series(slower(), server=name)) for name in ("a", "b", "c"))
    assert order([weak(a, 0.01), weak(b, 1e-5), weak(c, 1e-3)]) == ["b", "c", "a"]


def test_a_cell_whose_series_agree_goes_before_a_lone_one() -> None:
    lone = weak(alone(series(slower(), server="lone")), 0.02)
    both = [
        weak(alone(series(slower(), server="both")), 0.04),
        weak(alone(series(slower(by=0.87), server="both", metric=Metric.THROUGHPUT_RPS)), 0.05),
    ]
    assert order([lone, *both]) == ["both", "both", "lone"]
    # The same from two cells takes more time, and is no sooner.
    apart = [both[0], weak(alone(series(slower(), server="both", model="another")), 0.05)]
    assert order([lone, *apart])[0] == "lone"


def test_what_one_setup_shows_of_near_nights_is_compared_with_one_good_night() -> None:
    late, early = alone(series(slower(3))), alone(series(slower(5, by=0.87), metric=Metric.THROUGHPUT_RPS))
    old = alone(series(slower(12), metric=Metric.TTFT_P50_NS))
    good = {each.key.metric: each.good_run_id for each in suspects_of([late, early, old])}
    assert early.change is not None
    assert old.change is not None
    assert good[Metric.LATENCY_P50_NS] == good[Metric.THROUGHPUT_RPS] == early.change.last_before
    assert good[Metric.TTFT_P50_NS] == old.change.last_before


def hinting(monkeypatch: pytest.MonkeyPatch, p_values: Mapping[Metric, float]) -> set[Metric]:
    """What is kept of one cell whose series show these."""
    night = [series(slower(by=0.87 if metric is Metric.THROUGHPUT_RPS else 1.15), metric=metric) for metric in p_values]
    known = iter(night)

    def rule(*_: object, watch_p: float | None = None) -> Change | None:
        each = next(known)
        seen = alone_change[each.key]
        p_value = p_values[each.key.metric]
        return replace(seen, p_value=p_value, firm=False) if p_value <= (watch_p or 0.02) else None

    alone_change = changes_of(night, POLICY)
    monkeypatch.setattr("nightbench.judge.night.suspect", lambda *given: rule(watch_p=given[-1]))
    return {key.metric for key in changes_of(night, POLICY)}


@pytest.mark.parametrize(
    ("p_values", "kept"),
    [((0.02, 0.15), 2), ((0.03,), 0), ((0.07, 0.07), 2), ((0.1, 0.1), 0), ((0.17, 0.17, 0.17), 3), ((0.05, 0.3), 0)],
)
def test_a_cell_is_re_run_for_what_its_series_say_together(
    monkeypatch: pytest.MonkeyPatch, p_values: tuple[float, ...], kept: int
) -> None:
    metrics = (Metric.LATENCY_P50_NS, Metric.THROUGHPUT_RPS, Metric.TTFT_P50_NS)
    assert len(hinting(monkeypatch, dict(zip(metrics, p_values, strict=False)))) == kept


def undecided_before(pairs: int, p_value: float = 0.01) -> JudgementRecord:
    """Of the night before: a change that history was not sure of, and a re-run of ``pairs`` that came to nothing."""
    seen = replace(weak(alone(series(slower())), p_value), verdict=Verdict.OK)
    found = {key: replace(each, pairs=pairs) for key, each in decision(seen, Outcome.UNCONFIRMABLE).items()}
    (record,) = settle(TONIGHT, [seen], found, POLICY).judgements
    return replace(record, run_id=NIGHTS[-2])


def again(monkeypatch: pytest.MonkeyPatch, before: JudgementRecord, p_value: float, by: float = 1.0) -> Seen:
    change = before.change
    assert change is not None
    tonight = replace(change, p_value=p_value, after=Estimate(change.after.value * by))
    monkeypatch.setattr("nightbench.judge.night.suspect", lambda *_: tonight)
    return alone(series(slower()), [before])


def test_what_was_looked_into_in_vain_waits_until_history_knows_more(monkeypatch: pytest.MonkeyPatch) -> None:
    before = undecided_before(pairs=2)
    waiting = again(monkeypatch, before, 0.008)
    assert (waiting.verdict, waiting.rerun) == (Verdict.OK, False)
    assert waiting.detail == "on night-38 no re-run could decide it: as pairs show"
    assert again(monkeypatch, before, 0.0008).rerun, "ten times as sure"
    assert again(monkeypatch, before, 0.008, by=1.1).rerun, "it grew"


def test_the_newest_re_run_is_remembered_and_not_the_nights_that_it_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    before = undecided_before(pairs=2)
    (spared,) = settle(TONIGHT, [again(monkeypatch, before, 0.002)], {}, POLICY).judgements
    assert decided_before([before, spared]) == decided_before([before])


def test_what_there_was_no_time_for_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert again(monkeypatch, undecided_before(pairs=0), 0.01).rerun


def test_confirmed_is_regressed_and_becomes_the_baseline() -> None:
    seen = alone(series(slower()))
    done = settled(seen, Outcome.CONFIRMED)
    (record,) = done.judgements
    assert (record.verdict, record.confirmation_id is not None) == (Verdict.REGRESSED, True)
    (member,) = done.regressed
    assert member.ratio is not None
    assert seen.change is not None
    assert done.baselines == [(seen.series.key, seen.change.since, "regressed", None)]


def test_refuted_is_ok_and_no_baseline() -> None:
    seen = alone(series(slower(), anchor=Estimate(100.0)))
    done = settled(seen, Outcome.REFUTED)
    (record,) = done.judgements
    assert (record.verdict, record.detail) == (Verdict.OK, "as pairs show")
    assert (done.baselines, done.regressed, done.unconfirmed) == ([], [], [])


def refuted_before(values: Sequence[float], ratio: float | None = None) -> JudgementRecord:
    """The refutation, on the night before, of the change that ``values`` show tonight."""
    seen = alone(series(values))
    (record,) = settled(seen, Outcome.REFUTED).judgements
    assert record.change is not None
    change = record.change if ratio is None else replace(record.change, after=Estimate(100.0 * ratio))
    return replace(record, run_id=NIGHTS[-2], change=change)


def test_what_was_refuted_is_not_raised_again_night_after_night() -> None:
    before = refuted_before(slower())
    seen = alone(series(slower()), [before])
    assert (seen.verdict, seen.rerun) == (Verdict.OK, False)
    assert "refuted on night-38" in seen.detail
    (again,) = settle(TONIGHT, [seen], {}, POLICY).judgements
    third = alone(series(slower()), [replace(again, run_id="night-40")])
    assert third.detail.count("refuted on") == 1, "the decision is quoted, not its quotations"
    assert third.rerun is False


def test_what_was_refuted_and_grew_is_raised_again() -> None:
    assert alone(series(slower()), [refuted_before(slower(), ratio=1.1)]).rerun


def test_what_was_refuted_while_history_was_unsure_is_raised_once_it_is_firm() -> None:
    before = refuted_before(slower())
    assert before.change is not None
    unsure = replace(before, change=replace(before.change, firm=False))
    assert alone(series(slower()), [unsure]).rerun


def test_another_change_is_not_spared_by_an_old_refutation() -> None:
    before = refuted_before(slower(12))
    assert alone(series(slower(4)), [before]).rerun


def test_what_no_re_run_could_decide_is_an_alert_only_where_history_is_enough() -> None:
    firm = alone(series(slower()))
    done = settled(firm, Outcome.UNCONFIRMABLE)
    assert [record.verdict for record in done.judgements] == [Verdict.SUSPECTED]
    assert done.judgements[0].confirmation_id is None, "nothing was decided"
    assert len(done.unconfirmed) == 1
    assert not any(why == "regressed" for _, _, why, _ in done.baselines)
    assert settled(replace(firm, discovery=False), Outcome.UNCONFIRMABLE).unconfirmed == []


def test_without_re_runs_history_alone_raises_what_is_firm() -> None:
    policy = JudgePolicy(confirm=ConfirmPolicy(enabled=False))
    seen = alone(series(slower()), policy=policy)
    assert seen.rerun is False
    done = settled(seen, None, policy)
    assert "`confirm` is off" in done.judgements[0].detail
    assert len(done.unconfirmed) == 1


def test_an_improvement_that_lasts_becomes_the_baseline_without_a_re_run() -> None:
    seen = alone(series(slower(by=0.87)))
    assert (seen.verdict, seen.rerun) == (Verdict.IMPROVED, False)
    assert [why for _, _, why, _ in settled(seen, None).baselines] == ["improved"]


def test_an_improvement_of_one_night_does_not() -> None:
    seen = alone(series(slower(by=0.87), anchor=Estimate(100.0)))
    assert seen.change is not None
    once = replace(seen, change=replace(seen.change, nights=1))
    assert settled(once, None).baselines == []


def test_a_rate_that_falls_is_worse() -> None:
    seen = alone(series(slower(by=0.87), metric=Metric.THROUGHPUT_RPS))
    assert (seen.verdict, seen.worse) == (Verdict.SUSPECTED, True)


def test_a_series_of_a_live_alert_is_held_and_not_judged_again() -> None:
    each = series(slower())
    (seen,) = look([each], {}, POLICY, Machine(), {}, {each.key})
    assert (seen.verdict, seen.rerun) == (Verdict.REGRESSED, False)
    assert settle(TONIGHT, [seen], {}, POLICY).regressed == []


def fleet_night(servers: int, slow: int) -> tuple[list[NightSeries], Machine]:
    all_of_them = [
        series(
            slower(seed=10 * server + at) if server < slow else steady(10 * server + at), f"server-{server}", f"m{at}"
        )
        for server in range(servers)
        for at in range(5)
    ]
    fleet = [Fleet(each.server, each.key.metric.direction, each.history.points) for each in all_of_them]
    return all_of_them, machine_of({}, fleet, POLICY, TONIGHT)


def looked(night: list[NightSeries], machine: Machine) -> list[Seen]:
    return look(night, changes_of(night, POLICY), POLICY, machine, {})


def test_forty_series_slower_at_once_are_the_machine_and_nobody_else() -> None:
    night, machine = fleet_night(8, 8)
    seen = looked(night, machine)
    assert suspects_of(seen) == []
    done = settle(TONIGHT, seen, {}, POLICY)
    assert {record.verdict for record in done.judgements} == {Verdict.ENVIRONMENT}
    assert (len(done.environment), done.regressed, done.unconfirmed) == (40, [], [])


def test_one_slower_server_of_eight_is_not_the_machine() -> None:
    night, machine = fleet_night(8, 1)
    seen = looked(night, machine)
    assert {each.cell.setup.server for each in suspects_of(seen)} == {"server-0"}
    assert len(suspects_of(seen)) >= 5


def test_a_server_far_slower_than_the_machine_is_still_re_run() -> None:
    night, machine = fleet_night(8, 8)
    night.append(series(slower(by=1.4, seed=99), "broken"))
    assert [each.cell.setup.server for each in suspects_of(looked(night, machine))] == ["broken"]


def test_a_slow_machine_becomes_the_baseline_once_it_lasts_and_not_after_one_bad_night() -> None:
    seen = alone(series(slower(), anchor=Estimate(100.0)))
    assert seen.change is not None
    caused = replace(seen, verdict=Verdict.ENVIRONMENT, explained=True, change=replace(seen.change, nights=5))
    assert [why for _, _, why, _ in settle(TONIGHT, [caused], {}, POLICY).baselines] == ["environment"]
    once = replace(caused, change=replace(seen.change, nights=1))
    assert settle(TONIGHT, [once], {}, POLICY).baselines == []


def test_a_re_run_may_say_that_it_was_the_machine() -> None:
    done = settled(alone(series(slower())), Outcome.ENVIRONMENT)
    assert [record.verdict for record in done.judgements] == [Verdict.ENVIRONMENT]
    assert len(done.environment) == 1


def heir(tonight: float) -> NightSeries:
    """The first night of a series that took the place of one at 100."""
    new = series([tonight])
    old = SeriesKey(SUITE, "before", new.key.metric)
    history = SeriesHistory(points(steady())[:-1], Estimate(100.0), NIGHTS[0])
    return replace(new, predecessor=Predecessor(old, history))


def test_a_new_exporter_is_compared_with_what_it_replaces() -> None:
    seen = alone(heir(120.0))
    assert seen.rerun
    (suspect,) = suspects_of([seen])
    assert (suspect.predecessor, suspect.good_run_id) == ("before", NIGHTS[-2])
    assert suspect.change.before.value == pytest.approx(100.0, rel=0.02)
    assert suspect.change.firm is False
    done = settled(seen, Outcome.CONFIRMED)
    assert [record.verdict for record in done.judgements] == [Verdict.REGRESSED]


def test_a_new_exporter_that_is_no_slower_takes_the_anchor_along() -> None:
    each = heir(101.0)
    seen = alone(each)
    assert (seen.verdict, seen.rerun) == (Verdict.OK, False)
    assert settled(seen, None).baselines == [(each.key, TONIGHT, "took another's place", Estimate(100.0))]


def test_a_series_without_a_predecessor_starts_anew() -> None:
    assert alone(series([100.0])).verdict is Verdict.INSUFFICIENT


def test_what_recovered_and_relapses_is_re_run_though_its_history_is_young() -> None:
    seen = alone(series([100.0, 101.0, 115.0, 116.0], anchor=Estimate(100.0)))
    assert (seen.verdict, seen.rerun) == (Verdict.OK, True)
    (suspect,) = suspects_of([seen])
    assert (suspect.change.since, suspect.good_run_id) == (NIGHTS[-2], NIGHTS[-3])
    assert suspect.change.ratio == pytest.approx(1.155, rel=0.01)


@pytest.mark.parametrize(
    ("values", "anchor"),
    [
        ([100.0, 101.0, 100.0, 116.0], Estimate(100.0)),
        ([100.0, 101.0, 87.0, 86.0], Estimate(100.0)),
        ([100.0, 101.0, 115.0, 116.0], None),
        ([115.0, 116.0], Estimate(100.0)),
    ],
    ids=["one night", "better", "no anchor", "never good"],
)
def test_what_is_young_and_no_relapse_waits(values: list[float], anchor: Estimate | None) -> None:
    assert alone(series(values, anchor=anchor)).verdict is Verdict.INSUFFICIENT
