"""What the views show of a night is not more than it is: doubts figure by figure, and a name for every series."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from db.store import Store
from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, StreamFigures
from nightbench.judge.metrics import concerns
from nightbench.judge.series import Metric
from nightbench.load import ClosedLoop, Goal, Search
from nightbench.model import Format, Precision
from nightbench.record import Case, MeasurementRecord
from tests.db.conftest import case

Measured = Callable[..., MeasurementRecord]
_BOUNDED = Estimate(9e7, 8e7, 9.5e7)
_TIMES = dict.fromkeys(("p50", "p90", "p95", "p99"), _BOUNDED)
_STREAM = StreamFigures(_TIMES, _TIMES, 9_000, Estimate(88.0, 80.0, 90.0), Estimate(5.0), {"itl_ms": 9.0})
_SEARCH = SearchFigures((), 0, Estimate(100.0, 95.0, 105.0), "it grew no more")
_NAMES = (
    *("throughput", "throughput_rps", "p50", "p90", "p95", "p99", "answer_rps", "tokens_per_s", "goodput_rps"),
    *(f"{time}_{level}" for time in ("ttft", "itl") for level in ("p50", "p90", "p95", "p99")),
)


def _rows(store: Store, query: str) -> list[tuple[object, ...]]:
    with store.statements() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def _doubt(*names: str) -> Doubt:
    return Doubt(Reason.BIMODAL, "two modes", names)


@pytest.mark.parametrize("names", [(), *((name,) for name in _NAMES), ("p95", "itl_p50")])
def test_the_views_and_the_judge_agree_on_what_a_doubt_concerns(
    store: Store, measurement: Measured, names: tuple[str, ...]
) -> None:
    given = measurement(
        *("night-1", "c0"),
        case=case(load=Search(Goal.PEAK)),
        latency_ns=_TIMES,
        stream=_STREAM,
        search=_SEARCH,
        doubts=(_doubt(*names),),
    )
    store.ingest([given])
    doubted = {metric.value: concerns(given.doubts[0], metric) for metric in Metric}
    assert dict(_rows(store, "SELECT metric, doubted FROM round_figures")) == doubted
    columns = ", ".join(doubted)
    (night,) = _rows(store, f"SELECT {columns} FROM series_nights")  # noqa: S608 - of the metrics
    assert dict(zip(doubted, (figure is None for figure in night), strict=True)) == doubted


def test_a_nights_median_leaves_out_the_rounds_that_doubt_its_figure(store: Store, measurement: Measured) -> None:
    rounds = [
        measurement(
            *("night-1", f"c{number}"),
            round=number,
            throughput_rps=Estimate(value, value, value),
            latency_ns={level: Estimate(value, value, value) for level in ("p50", "p90", "p95", "p99")},
            doubts=doubts,
        )
        for number, (value, doubts) in enumerate([(80.0, ()), (90.0, ()), (400.0, (_doubt("p50", "p99"),))])
    ]
    store.ingest(rounds)
    shown = "SELECT rounds, doubted_rounds, throughput_rps, latency_p50_ns, latency_p90_ns, latency_p99_ns"
    shown += " FROM series_nights"
    seen = [(3, 0, 90.0, 85.0, 90.0, 85.0)]
    assert _rows(store, shown) == seen
    store.put_points("night-1", [])
    assert _rows(store, "SELECT count(*) FROM night_series") == [(1,)]
    assert _rows(store, shown) == seen


def test_a_tail_without_an_upper_bound_is_doubted_by_itself(store: Store, measurement: Measured) -> None:
    store.ingest([measurement("night-1", "c0")])
    figures = "SELECT metric FROM round_figures WHERE {} ORDER BY 1"
    assert _rows(store, figures.format("doubted")) == [("latency_p99_ns",)]
    assert _rows(store, figures.format("NOT doubted")) == [("latency_p50_ns",), ("throughput_rps",)]


_USUAL = case(load=ClosedLoop(4))


def _labels(store: Store, measurement: Measured, *cases: Case) -> list[str]:
    """One each."""
    store.ingest([measurement("night-1", f"c{number}", case=each) for number, each in enumerate(cases)])
    label = dict(_rows(store, "SELECT fingerprint, label FROM case_facts"))
    return [str(label[each.fingerprint]) for each in cases]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(_USUAL, options={}), "onnxruntime resnet50 onnx fp32 b1 raw-http closed c4"),
        (replace(_USUAL, options={}, precision=Precision.INT8), "onnxruntime resnet50 onnx int8 b1 raw-http closed c4"),
        (
            replace(_USUAL, options={"queue": 2}, format=Format.TORCHSCRIPT, launcher="docker"),
            "onnxruntime docker resnet50 torchscript fp32 b1 raw-http closed c4 queue=2",
        ),
    ],
)
def test_a_series_is_named_by_all_that_tells_it_apart(
    store: Store, measurement: Measured, other: Case, words: str
) -> None:
    usual = "onnxruntime resnet50 onnx fp32 b1 raw-http closed c4 batching=true delay_us=0.5 mode=fast queue=64"
    assert _labels(store, measurement, _USUAL, other) == [usual, words]


@pytest.mark.parametrize("other", [{"hardware": "4 cpus"}, {"model_version": 2}, {"threads": 3}])
def test_series_with_the_same_words_are_told_apart_by_their_fingerprints(
    store: Store, measurement: Measured, other: dict[str, object]
) -> None:
    cases = _USUAL, replace(_USUAL, **other)  # type: ignore[arg-type]  # of several kinds
    labels = _labels(store, measurement, *cases)
    assert [label.rpartition(" #")[2] for label in labels] == [each.fingerprint[:8] for each in cases]
    assert len({label.rpartition(" #")[0] for label in labels}) == 1
