"""A night is judged by the nights before it that count, and by no other."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.store import Store
from nightbench.figures import Estimate
from nightbench.judge.series import ChangePoint, Metric, NightPoint, Point, SeriesHistory, SeriesKey
from nightbench.judge.verdict import Change, Verdict
from nightbench.model import Precision
from nightbench.record import CanaryRecord, Case, JudgementRecord, KitRecord, RunFinished, RunStarted
from tests.db.conftest import DAWN, case, measurement
from tests.db.judging import KEY, night_of, nights_of, run, start_of


def _values(history: SeriesHistory) -> list[float]:
    return [point.value for point in history.points]


def test_history_ends_with_tonight_and_begins_as_far_back_as_asked(store: Store) -> None:
    nights_of(store, 1.0, 2.0, 3.0, 4.0)
    assert _values(store.series_of(run(3), 10)[KEY]) == [1.0, 2.0, 3.0, 4.0]
    assert _values(store.series_of(run(3), 2)[KEY]) == [3.0, 4.0]
    # An old night judged again is not judged by its future.
    assert _values(store.series_of(run(1), 10)[KEY]) == [1.0, 2.0]
    assert store.series_of(run(9), 10) == {}


def test_only_completed_nights_of_the_suite_are_history_and_tonight_need_not_be(store: Store) -> None:
    elsewhere = replace(KEY, suite="nightly")
    night_of(store, 0, NightPoint(KEY, Estimate(1.0)))
    night_of(store, 1, NightPoint(KEY, Estimate(2.0)), status="failed")
    night_of(store, 2, NightPoint(elsewhere, Estimate(3.0)), suite="nightly")
    night_of(store, 3, NightPoint(KEY, Estimate(4.0)), status=None)
    assert {key: _values(found) for key, found in store.series_of(run(3), 10).items()} == {KEY: [1.0, 4.0]}
    assert list(store.series_of(run(2), 10)) == [elsewhere]


def test_points_come_back_with_their_interval_and_doubts(store: Store) -> None:
    other = replace(KEY, metric=Metric.LATENCY_P99_NS)
    night_of(store, 0, NightPoint(KEY, Estimate(2.0, 1.0, 3.0)), NightPoint(other, Estimate(5.0), ("errors",)))
    found = store.series_of(run(0), 10)
    assert found[KEY].points == (Point(run(0), 2.0, 1.0, 3.0),)
    assert found[other].points == (Point(run(0), 5.0, doubted=True),)


def test_a_night_put_again_replaces_itself_alone(store: Store) -> None:
    nights_of(store, 1.0, 2.0)
    other = replace(KEY, fingerprint="0" * 32)
    store.put_points(run(1), [NightPoint(KEY, Estimate(7.0))])
    store.put_points(run(1), [NightPoint(KEY, Estimate(8.0)), NightPoint(other, Estimate(float("nan")))])
    assert {key: _values(found) for key, found in store.series_of(run(1), 10).items()} == {KEY: [1.0, 8.0]}


def test_bounds_that_rounding_put_beyond_their_figure_cost_nothing(store: Store) -> None:
    night_of(store, 0, NightPoint(KEY, Estimate(2.0, 2.0 + 1e-12, float("inf"))))
    assert store.series_of(run(0), 1)[KEY].points == (Point(run(0), 2.0, 2.0),)


def test_a_series_begins_at_its_newest_baseline(store: Store) -> None:
    nights_of(store, 1.0, 2.0, 3.0, 4.0, 5.0)
    store.set_baselines([(KEY, run(1), "set", Estimate(2.0, 1.5, 2.5))])
    assert store.series_of(run(4), 10)[KEY].anchor == Estimate(2.0, 1.5, 2.5)
    store.set_baselines([(KEY, run(3), "shifted", None)])
    assert store.series_of(run(4), 10)[KEY] == SeriesHistory((Point(run(3), 4.0), Point(run(4), 5.0)), None, run(3))
    # A night before it knows nothing of it yet.
    assert _values(store.series_of(run(2), 10)[KEY]) == [2.0, 3.0]
    # Taken back: the last one set counts, not the latest night.
    store.set_baselines([(KEY, run(1), "was no shift", Estimate(9.0))])
    assert store.series_of(run(4), 10)[KEY].anchor == Estimate(9.0)
    assert _values(store.series_of(run(4), 10)[KEY]) == [2.0, 3.0, 4.0, 5.0]
    store.set_baselines([])


NUMBERS = count()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    nights=st.lists(
        st.tuples(st.booleans(), st.none() | st.floats(-1e300, 1e300), st.booleans()), min_size=1, max_size=12
    ),
    most=st.integers(1, 12),
    base=st.none() | st.integers(0, 11),
)
def test_history_is_what_reading_night_by_night_gives(
    store: Store, nights: Sequence[tuple[bool, float | None, bool]], most: int, base: int | None
) -> None:
    """Against the plainest reading of the rules, over nights that failed, were left out or are doubted."""
    suite = f"suite-{next(NUMBERS)}"
    key = SeriesKey(suite, "f", Metric.ANSWER_RPS)
    kept: list[Point] = []
    for number, (completed, value, doubted) in enumerate(nights):
        name = f"{suite}-{number}"
        store.ingest([RunStarted(name, suite, 1, start_of(number), "", {}, "", 1)])
        store.ingest([RunFinished(name, DAWN, "completed" if completed else "failed", {})])
        point = [] if value is None else [NightPoint(key, Estimate(value), ("errors",) * doubted)]
        store.put_points(name, point)
        if value is not None and (completed or number == len(nights) - 1):
            kept.append(Point(name, value, doubted=doubted))
    if base is not None and base < len(nights):
        store.set_baselines([(key, f"{suite}-{base}", "set", None)])
        kept = [point for point in kept if int(point.night.rpartition("-")[2]) >= base]
    tonight = f"{suite}-{len(nights) - 1}"
    found = store.series_of(tonight, most)
    if nights[-1][1] is None:
        assert found == {}
    else:
        looked_through = {f"{suite}-{n}" for n in _reach(nights, most)} | {tonight}
        assert found[key].points == tuple(point for point in kept if point.night in looked_through)[-most:]


def _reach(nights: Sequence[tuple[bool, float | None, bool]], most: int) -> list[int]:
    """The completed nights before tonight that are near enough."""
    completed = [number for number, (done, _, _) in enumerate(nights[:-1]) if done]
    return completed[max(0, len(completed) - (-(-5 * most // 4) - 1)) :]


def test_changes_of_a_whole_series_are_replaced_as_a_whole(store: Store, url: str) -> None:
    nights_of(store, 1.0, 2.0, 3.0)
    store.set_baselines([(KEY, run(2), "shifted", None)])
    assert store.whole_series("smoke") == {KEY: tuple(Point(run(n), n + 1.0) for n in range(3))}
    store.put_changes({KEY: [ChangePoint(run(1), 1.0, 2.0, 0.01), ChangePoint(run(2), 2.0, 3.0, 0.02)]})
    store.put_changes({KEY: [ChangePoint(run(2), 1.5, 3.0, 0.03)]})
    assert _rows(url, "SELECT run_id, before, after, ratio, p_value FROM change_point_facts") == [
        (run(2), 1.5, 3.0, 2.0, 0.03)
    ]


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    from sqlalchemy import text

    from db.engine import open_engine

    with open_engine(url, pooled=False).connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def _night_of_cases(store: Store, number: int, *cases: Case, status: str = "completed") -> None:
    keys = [SeriesKey("smoke", each.fingerprint, Metric.LATENCY_P50_NS) for each in cases]
    store.ingest([measurement(run(number), f"c{n}", case=each) for n, each in enumerate(cases)])
    night_of(store, number, *(NightPoint(key, Estimate(1.0 + number)) for key in keys), status=status)


def test_a_new_exporter_goes_on_where_the_old_one_ended(store: Store) -> None:
    old, new, other = case(), replace(case(), artifact_sha256="0" * 64), case(batch=4)
    _night_of_cases(store, 0, old, other)
    _night_of_cases(store, 1, old, other)
    # A night that failed is no night of the series.
    _night_of_cases(store, 2, new, status="failed")
    _night_of_cases(store, 3, new, other)
    _night_of_cases(store, 4, new, other)
    key = SeriesKey("smoke", new.fingerprint, Metric.LATENCY_P50_NS)
    found = store.predecessors(run(3), 10)
    assert list(found) == [key]
    assert found[key].key == replace(key, fingerprint=old.fingerprint)
    assert found[key].history.points == (Point(run(0), 1.0), Point(run(1), 2.0))
    assert store.predecessors(run(4), 10) == {}, "it is not new any more"
    assert store.predecessors(run(0), 10) == {}


def test_what_is_ambiguous_or_another_experiment_has_no_predecessor(store: Store) -> None:
    _night_of_cases(store, 0, case())
    _night_of_cases(store, 1, replace(case(), artifact_sha256="0" * 64), replace(case(), artifact_sha256="1" * 64))
    _night_of_cases(store, 2, replace(case(), precision=Precision.INT8))
    assert store.predecessors(run(1), 10) == {}
    assert store.predecessors(run(2), 10) == {}


def test_a_series_keeps_its_predecessor_while_it_is_young(store: Store) -> None:
    old, new = case(), replace(case(), artifact_sha256="e" * 64)

    def night(number: int, of: Case, doubts: tuple[str, ...] = ()) -> None:
        _night_of_cases(store, number, of)
        key = SeriesKey("smoke", of.fingerprint, Metric.LATENCY_P50_NS)
        store.put_points(run(number), [NightPoint(key, Estimate(1.0 + number), doubts)])

    for number in range(3):
        night(number, old)
    night(3, new, ("errors",))
    night(4, new)
    night(5, new)

    def before(number: int) -> list[tuple[str, int]]:
        found = store.predecessors(run(number), 10, young=1).values()
        return [(each.key.fingerprint, len(each.history.points)) for each in found]

    assert before(3) == [(old.fingerprint, 3)]
    assert before(4) == [(old.fingerprint, 3)]
    assert before(5) == []


def test_nights_of_other_machines_take_no_room_and_interrupt_nothing(store: Store) -> None:
    """Machines that share a database take turns; each judges as if it had the database to itself."""
    old, new = case(), replace(case(), artifact_sha256="0" * 64)
    elsewhere = NightPoint(replace(KEY, fingerprint="e" * 32), Estimate(1.0))
    for number in range(12):
        if number % 4 == 0:
            _night_of_cases(store, number, old)
        else:
            store.ingest([replace(_started(number), hardware=f"{number % 4} gpus")])
            store.ingest([RunFinished(run(number), start_of(number), "completed", {})])
            store.put_points(run(number), [elsewhere])
    key = SeriesKey("smoke", old.fingerprint, Metric.LATENCY_P50_NS)
    assert [point.night for point in store.series_of(run(8), 3)[key].points] == [run(0), run(4), run(8)]
    _night_of_cases(store, 12, new)
    assert [found.key for found in store.predecessors(run(12), 3).values()] == [key]


def test_canaries_of_other_machines_and_failed_ones_are_left_out(store: Store) -> None:
    nights_of(store, 1.0, 2.0)
    store.ingest([replace(_started(5), hardware="64 cpus"), RunFinished(run(5), start_of(5), "completed", {})])
    night_of(store, 6)
    for number, took in ((0, 10.0), (0, 30.0), (0, 20.0), (5, 99.0), (6, 40.0)):
        store.ingest([_canary(number, took)])
    store.ingest([replace(_canary(6, 1.0), canary="memory_copy", duration_ns=None, failure="no memory")])
    assert store.canary_history(run(6), 10) == {("matrix_product", "cpu"): (Point(run(0), 20.0), Point(run(6), 40.0))}


def test_the_last_completed_night_is_one_of_the_same_suite_and_machine(store: Store) -> None:
    nights_of(store, 1.0)
    night_of(store, 1, status="failed")
    night_of(store, 2, suite="nightly")
    store.ingest([replace(_started(3), hardware="64 cpus"), RunFinished(run(3), start_of(3), "completed", {})])
    night_of(store, 4)
    assert store.last_completed(run(4)) == run(0)
    assert store.last_completed(run(0)) is None


def _started(number: int) -> RunStarted:
    return RunStarted(run(number), "smoke", 7, start_of(number), "2 cpus", {}, "", 1)


def _canary(number: int, took: float) -> CanaryRecord:
    at = start_of(number) + timedelta(seconds=took)
    return CanaryRecord(run(number), 0, "matrix_product", "cpu", at, Estimate(took))


def test_earlier_judgements_that_found_something_come_in_order_of_their_nights(store: Store, url: str) -> None:
    nights_of(store, 1.0, 2.0, 3.0, 4.0)
    shift = Change(run(1), run(0), 1, Estimate(100.0, 99.0), Estimate(50.0), 0.001, True)
    said = [
        JudgementRecord(run(n), KEY.suite, KEY.fingerprint, KEY.metric, Verdict.OK, f"said {n}", shift)
        for n in range(4)
    ]
    plain = replace(said[0], metric=Metric.TOKENS_PER_S, change=None)
    store.ingest([*reversed(said), plain])
    assert store.judgements(run(3), 10) == said[:3]
    assert store.judgements(run(3), 1) == [said[2]]
    assert _rows(url, "SELECT value, verdict, ratio, since_run_id FROM judgement_nights ORDER BY run_id, metric")[
        :2
    ] == [
        (1.0, "ok", 0.5, run(1)),
        (None, "ok", None, None),
    ]


def test_a_kit_and_the_beginning_of_a_run_are_found_by_themselves(store: Store) -> None:
    nights_of(store, 1.0)
    kit = KitRecord(run(0), "toy", "ab", {"serve.py": "pass\n"})
    store.ingest([kit, replace(kit, server="other")])
    assert store.kit(run(0), "toy") == kit
    assert store.kit(run(0), "none") is None
    assert store.run_started(run(0)) == replace(_started(0), suite_yaml="name: smoke\n")
    assert store.run_started("none") is None
    assert store.records(run(0), KitRecord) == [replace(kit, server="other"), kit]


@pytest.mark.parametrize("figure", [Estimate(1.0, 2.0), Estimate(-1.0)])
def test_a_judgement_whose_levels_cannot_be_is_refused(store: Store, figure: Estimate) -> None:
    shift = Change(run(1), run(0), 1, figure, Estimate(50.0), 0.001, True)
    said = JudgementRecord(run(0), KEY.suite, KEY.fingerprint, KEY.metric, Verdict.OK, "", shift)
    (refusal,) = store.ingest([said]).refused
    assert refusal.record == f"judgement {run(0)} {KEY.fingerprint}"
    assert "before_interval" in refusal.reason
