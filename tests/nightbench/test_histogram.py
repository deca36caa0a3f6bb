"""Histograms: exact to merge, three digits, and readable by HdrHistogram itself."""

from base64 import b64encode
from contextlib import suppress

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nightbench.errors import NightbenchError
from nightbench.histogram import HIGHEST_NS, LOWEST_NS, LatencyHistogram

latencies = arrays(np.int64, st.integers(0, 300), elements=st.integers(LOWEST_NS, HIGHEST_NS))


@given(latencies, latencies)
def test_merging_equals_recording_together(a: np.ndarray, b: np.ndarray) -> None:
    merged = LatencyHistogram.merge([LatencyHistogram.from_ns(a), LatencyHistogram.from_ns(b)])
    assert merged.encode() == LatencyHistogram.from_ns(np.concatenate([a, b])).encode()
    assert merged.count == len(a) + len(b)


@given(latencies)
def test_text_and_back(values: np.ndarray) -> None:
    histogram = LatencyHistogram.from_ns(values)
    decoded = LatencyHistogram.decode(histogram.encode())
    assert decoded.encode() == histogram.encode()
    assert decoded.count == len(values)
    assert decoded.curve(9) == histogram.curve(9)


@given(latencies.filter(len), st.floats(0.0, 1.0))
def test_quantiles_are_right_to_three_digits(values: np.ndarray, q: float) -> None:
    exact = np.quantile(values, q, method="inverted_cdf")
    assert exact <= LatencyHistogram.from_ns(values).quantile_ns(q) <= exact * 1.001


@given(latencies.filter(len))
def test_bulk_recording_equals_recording_one_by_one_in_hdrhistogram(values: np.ndarray) -> None:
    reference = HdrHistogram(LOWEST_NS, HIGHEST_NS, 3)
    for value in values.tolist():
        reference.record_value(value)
    decoded = HdrHistogram.decode(LatencyHistogram.from_ns(values).encode())
    assert bytes(decoded.counts) == bytes(reference.counts)
    assert decoded.get_total_count() == reference.get_total_count()


@given(latencies, st.integers(1, 50))
def test_many_values_are_recorded_a_part_at_a_time(values: np.ndarray, chunk: int) -> None:
    whole = LatencyHistogram.from_ns(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nightbench.histogram._CHUNK", chunk)
        assert LatencyHistogram.from_ns(values).encode() == whole.encode()


def test_values_out_of_range_are_moved_to_its_ends_and_counted() -> None:
    histogram = LatencyHistogram.from_ns(np.array([-3, 0, 1, 1000, HIGHEST_NS, HIGHEST_NS + 1, 2**62]))
    assert (histogram.count, histogram.clamped) == (7, 4)
    assert histogram.quantile_ns(0.0) == LOWEST_NS
    assert histogram.quantile_ns(1.0) == pytest.approx(HIGHEST_NS, rel=1e-3)
    assert LatencyHistogram.merge([histogram, histogram]).clamped == 8


def test_the_curve_rises_to_the_largest_value_on_an_axis_of_nines() -> None:
    values = np.random.default_rng(1).lognormal(14, 1, 10_000).astype(np.int64)
    curve = LatencyHistogram.from_ns(values).curve(50)
    shares, latency = zip(*curve, strict=True)
    assert len(curve) == 50
    assert shares[0] == 0.0
    assert shares[-2] == pytest.approx(1 - 1e-4)
    assert shares[-1] == 1.0
    assert list(latency) == sorted(latency)
    assert latency[-1] == pytest.approx(values.max(), rel=1e-3)
    nines = -np.log10(1 - np.array(shares[:-1]))
    assert np.diff(nines) == pytest.approx(np.diff(nines).mean())


@given(latencies, st.lists(st.integers(1, HIGHEST_NS), min_size=2, max_size=10, unique=True))
def test_heat_map_buckets_count_every_value_between_the_edges(values: np.ndarray, edges: list[int]) -> None:
    edges = [0, *sorted(edges), 2 * HIGHEST_NS]
    counts = LatencyHistogram.from_ns(values).buckets(edges)
    assert counts.sum() == len(values)
    exact = np.cumsum(np.histogram(values, edges)[0])
    fuzzy = [np.count_nonzero(abs(values / edge - 1) < 1.1e-3) for edge in edges[1:]]
    assert np.all(abs(np.cumsum(counts) - exact) <= fuzzy)


def test_empty() -> None:
    empty = LatencyHistogram.merge([])
    assert empty.count == empty.quantile_ns(0.5) == 0
    assert empty.curve(10) == []
    assert empty.buckets([0, 10]).tolist() == [0]
    assert LatencyHistogram.decode(empty.encode()).count == 0


def test_a_million_requests_fit_in_a_few_kilobytes() -> None:
    values = np.random.default_rng(2).lognormal(14, 0.5, 1_000_000).astype(np.int64)
    assert len(LatencyHistogram.from_ns(values).encode()) < 12_000


def test_damaged_text_is_a_sentence() -> None:
    text = LatencyHistogram.from_ns(np.arange(1, 5000)).encode()
    foreign = HdrHistogram(1, 1000, 2).encode().decode()
    for bad in ("", "x", "not base64!", text[:60], text[:-4] + "AAAA", text[:20] + "AAAA" + text[24:], foreign):
        with pytest.raises(NightbenchError, match="histogram"):
            LatencyHistogram.decode(bad)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_hostile_text_is_refused_or_read_but_never_crashes(body: bytes, at: int) -> None:
    text = LatencyHistogram.from_ns(np.arange(1, 50)).encode()
    with suppress(NightbenchError):
        LatencyHistogram.decode(text[:at] + b64encode(body).decode() + text[at:])
