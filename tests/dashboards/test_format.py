"""Numbers as text: known answers, and what must hold for any figure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.report import format as fmt
from nightbench.figures import Estimate


def _ms(value: float, low: float | None = None, high: float | None = None) -> str:
    return str(
        fmt.latency(Estimate(value * 1e6, None if low is None else low * 1e6, None if high is None else high * 1e6))
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_ms(4.5203, 4.4711, 4.6099), "4.52 ms [4.47, 4.61]"),
        (_ms(0.04618, 0.0452, 0.0471), "0.0462 ms [0.0452, 0.0471]"),
        (_ms(1234.4, 1200, 1300), "1,234 ms [1,200, 1,300]"),
        (_ms(9.996, 9.99, 10.02), "10.00 ms [9.99, 10.02]"),
        (_ms(5, 4), "5.00 ms [≥ 4.00]"),
        (_ms(5, None, 6), "5.00 ms [≤ 6.00]"),
        (_ms(5), "5.00 ms [\N{EN DASH}]"),
        (str(fmt.latency(None)), "\N{EN DASH}"),
        (str(fmt.latency(Estimate(float("nan")))), "\N{EN DASH}"),
        (str(fmt.rate(Estimate(213.4, 210.2, 216.1))), "213 rps [210, 216]"),
        (str(fmt.rate(Estimate(0.0))), "0.00 rps [\N{EN DASH}]"),
        (str(fmt.duration(Estimate(1.84e9, 1.7e9, 2e9))), "1.84 s [1.70, 2.00]"),
        (str(fmt.duration(Estimate(4.12e8))), "412 ms [\N{EN DASH}]"),
        (str(fmt.memory(Estimate(119 * 2**20))), "119 MiB [\N{EN DASH}]"),
        (str(fmt.memory(Estimate(1.5 * 2**30))), "1.50 GiB [\N{EN DASH}]"),
        (fmt.size(512), "512 B"),
        (fmt.size(14_203_511), "13.5 MiB"),
        (fmt.size(None), "\N{EN DASH}"),
        (fmt.in_words(8.5e8), "850 ms"),
        (fmt.in_words(12.34e9), "12.3 s"),
        (fmt.in_words(245e9), "4 min 05 s"),
        (fmt.in_words(25_320e9), "7 h 02 min"),
        (fmt.in_words(59.98e9), "1 min 00 s"),
        (fmt.share(1, 100_000), "<0.1 %"),
        (fmt.share(0, 10), "0.0 %"),
        (fmt.share(1, 0), "\N{EN DASH}"),
        (fmt.scientific(2.43e-6), "2.4e-06"),
        (fmt.scientific(0), "0"),
    ],
)
def test_known_answers(text: str, expected: str) -> None:
    assert text == expected


positive = st.floats(min_value=1e-3, max_value=1e12)


@given(value=positive)
def test_the_text_is_within_half_a_percent_of_the_value(value: float) -> None:
    shown = fmt.rate(Estimate(value)).value.replace(",", "")
    assert float(shown) == pytest.approx(value, rel=0.0051)


@given(low=positive, high=positive)
def test_a_value_within_its_interval_is_shown_within_it(low: float, high: float) -> None:
    low, high = sorted((low, high))
    shown = fmt.rate(Estimate((low + high) / 2, low, high))
    bounds = [float(bound.replace(",", "")) for bound in shown.interval[1:-1].split(", ")]
    assert bounds[0] <= float(shown.value.replace(",", "")) <= bounds[1]


@given(elapsed_ns=st.floats(min_value=0, max_value=2e14))
def test_no_span_shows_sixty_seconds_or_minutes(elapsed_ns: float) -> None:
    assert "60" not in fmt.in_words(elapsed_ns).replace(".", " ").split()
