"""A check finds what got worse, says when it cannot tell, and is read by the tools of a merge request."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from scipy import stats

from nightbench.figures import Doubt, Estimate, Reason
from nightbench.judge.check import Check, Checked, against_history, against_run
from nightbench.judge.check_report import headline, in_words, junit, markdown
from nightbench.judge.compare import differences, ratio_of, welch
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import Metric, Point, SeriesHistory, SeriesKey
from nightbench.judge.verdict import Verdict
from nightbench.record import JudgementRecord, MissingRecord, Record
from nightbench.stats.combine import spread_of
from nightbench.summary import NightSummary, summarise
from tests.nightbench.judged import SUITE, case, cell_rounds, started

POLICY = JudgePolicy()


def night(
    factors: Mapping[str, float] | Iterable[str],
    seed: int,
    *,
    run: str = "tonight",
    spread: float = 0.02,
    rounds: int = 3,
    doubts: Sequence[Doubt] = (),
    more: Sequence[Record] = (),
) -> NightSummary:
    """A cell a model: its latencies longer and its throughput lower, by the model's factor and each start's luck."""
    by_model = factors if isinstance(factors, Mapping) else dict.fromkeys(factors, 1.0)
    rng = np.random.default_rng(seed)
    records: list[Record] = [started(run)]
    for model, factor in by_model.items():
        for record in cell_rounds(case(model=model), rounds=rounds, doubts=doubts):
            luck = factor * math.exp(rng.normal(0.0, spread))
            latency = {name: scaled(each, luck) for name, each in record.latency_ns.items()}
            throughput = scaled(record.throughput_rps, 1 / luck)
            records.append(replace(record, run_id=run, latency_ns=latency, throughput_rps=throughput))
    return summarise([*records, *more])


def scaled(estimate: Estimate, factor: float, half: float = 0.002) -> Estimate:
    value = estimate.value * factor
    return Estimate(value, value * (1 - half), value * (1 + half))


MODELS = [f"m{number}" for number in range(20)]


def verdicts(found: Check) -> dict[tuple[str, str], str]:
    """By model and metric."""
    return {(each.label.split()[1], each.key.metric): each.verdict for each in found.series}


# Between two runs.


def test_two_runs_that_are_alike_pass() -> None:
    found = against_run(night(MODELS, 1), night(MODELS, 2, run="before"), POLICY)
    assert found.exit_code == 0
    assert list(verdicts(found).values()).count(Verdict.OK) > 50
    assert len(found.series) == 60
    assert found.against == "run before"


def test_one_model_that_got_slower_is_the_one_that_regressed() -> None:
    slower = {**dict.fromkeys(MODELS, 1.0), "m7": 1.15}
    found = against_run(night(slower, 1), night(MODELS, 2, run="before"), POLICY)
    regressed = {model for (model, _), verdict in verdicts(found).items() if verdict == Verdict.REGRESSED}
    assert (regressed, found.exit_code) == ({"m7"}, 1)
    worst = found.series[0]
    assert worst.ratio is not None
    assert worst.ratio.low is not None
    assert worst.ratio.high is not None
    throughput = worst.key.metric is Metric.THROUGHPUT_RPS
    assert worst.ratio.low < (1 / 1.15 if throughput else 1.15) < worst.ratio.high


def test_one_model_that_got_faster_improved_and_passes() -> None:
    faster = {**dict.fromkeys(MODELS, 1.0), "m7": 0.85}
    found = against_run(night(faster, 1), night(MODELS, 2, run="before"), POLICY)
    assert found.exit_code == 0
    assert {model for (model, _), verdict in verdicts(found).items() if verdict == Verdict.IMPROVED} == {"m7"}


def test_a_change_smaller_than_is_news_passes_however_sure_it_is() -> None:
    slower = {**dict.fromkeys(MODELS, 1.0), "m7": 1.02}
    found = against_run(night(slower, 1, spread=1e-4), night(MODELS, 2, run="before", spread=1e-4), POLICY)
    assert found.exit_code == 0


def test_nothing_that_changed_fails_no_more_checks_than_is_promised() -> None:
    failed = sum(
        against_run(night(MODELS[:6], seed), night(MODELS[:6], seed + 1, run="before"), POLICY).exit_code == 1
        for seed in range(0, 80, 2)
    )
    # 5 % of 40 are two; seven or more have a probability below 0.5 %.
    assert failed < 7


def test_runs_too_noisy_to_show_a_tenth_are_insufficient() -> None:
    found = against_run(night(MODELS, 1, spread=0.3), night(MODELS, 2, run="before", spread=0.3), POLICY)
    assert found.exit_code == 3
    assert "worse cannot be ruled out" in found.series[0].detail


def test_one_deployment_each_cannot_tell() -> None:
    found = against_run(night(MODELS, 1, rounds=1), night(MODELS, 2, run="before", rounds=1), POLICY)
    assert found.exit_code == 3
    assert not any(each.judged for each in found.series)


def test_a_series_that_the_run_lost_cannot_be_told_and_a_new_one_is_no_loss() -> None:
    both = against_run(night(["a", "b"], 1), night(["a", "b", "gone"], 2, run="before"), POLICY)
    assert both.exit_code == 3
    assert verdicts(both)["gone", Metric.LATENCY_P50_NS] == Verdict.INSUFFICIENT
    assert against_run(night(["a", "b", "new"], 1), night(["a", "b"], 2, run="before"), POLICY).exit_code == 0


def test_a_doubted_figure_is_lost_unless_it_was_doubted_before() -> None:
    doubt = [Doubt(Reason.ERRORS, "many failed")]
    assert against_run(night("ab", 1, doubts=doubt), night("ab", 2, run="before"), POLICY).exit_code == 3
    tail = [Doubt(Reason.TOO_FEW_SAMPLES, "few", ("p99",))]
    found = against_run(night("ab", 1, doubts=tail), night("ab", 2, run="before", doubts=tail), POLICY)
    assert found.exit_code == 0
    assert verdicts(found)["a", Metric.LATENCY_P99_NS] == Verdict.INVALID


# The statistics of two runs.

FIGURES = st.lists(st.floats(0.5, 2.0), min_size=2, max_size=6).filter(lambda values: np.ptp(values) > 1e-3)


@given(FIGURES, FIGURES)
def test_the_test_is_welchs(before: list[float], after: list[float]) -> None:
    one, other = ([Estimate(value) for value in values] for values in (before, after))
    one_spread, other_spread = spread_of(one), spread_of(other)
    assert one_spread is not None
    assert other_spread is not None
    found = welch(one, other, one_spread, other_spread)
    reference = stats.ttest_ind(np.log(after), np.log(before), equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-12)
    assert found.ratio.low == pytest.approx(math.exp(interval.low), rel=1e-6)
    assert found.ratio.high == pytest.approx(math.exp(interval.high), rel=1e-6)


def test_rounds_that_agree_by_luck_are_not_exact() -> None:
    rounds = [Estimate(100.0, 90.0, 111.0)] * 3
    spread = spread_of(rounds)
    assert spread is not None
    found = welch(rounds, rounds, spread, spread)
    assert found.ratio.low is not None
    assert found.ratio.low < 0.95
    assert found.p_value == pytest.approx(1.0)


def test_intervals_of_ratios_hold_the_truth_as_often_as_they_say() -> None:
    held = total = 0
    for seed in range(0, 20, 2):
        found = differences(night(MODELS, seed), night(dict.fromkeys(MODELS, 1.05), seed + 1), SUITE)
        for key, each in found.items():
            if key.metric is not Metric.THROUGHPUT_RPS:
                assert each.ratio.low is not None
                assert each.ratio.high is not None
                total += 1
                held += each.ratio.low <= 1.05 <= each.ratio.high
    # Latencies of one start share its luck, so this is 200 draws: 95 % give or take 3.
    assert 0.91 <= held / total <= 0.99


ESTIMATES = st.tuples(st.floats(0.1, 10.0), st.floats(0.001, 0.5), st.floats(0.001, 0.5)).map(
    lambda each: Estimate(each[0], each[0] / (1 + each[1]), each[0] * (1 + each[2]))
)


@given(ESTIMATES, ESTIMATES)
def test_a_ratio_is_surrounded_by_its_interval_and_turns_round_with_its_sides(one: Estimate, other: Estimate) -> None:
    ratio, inverse = ratio_of(one, other), ratio_of(other, one)
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low < ratio.value < ratio.high
    assert inverse.value == pytest.approx(1 / ratio.value)
    assert inverse.low == pytest.approx(1 / ratio.high)
    assert inverse.high == pytest.approx(1 / ratio.low)
    assert other.low is not None
    assert other.high is not None
    assert (other.low / one.value, other.high / one.value) >= (ratio.low, 0)
    assert ratio.high >= other.high / one.value


@given(ESTIMATES)
def test_a_side_known_exactly_adds_nothing(estimate: Estimate) -> None:
    found = ratio_of(Estimate(2.0, 2.0, 2.0), estimate)
    assert found.low == pytest.approx((estimate.low or 0) / 2)
    assert found.high == pytest.approx((estimate.high or 0) / 2)


def test_a_bound_that_is_not_known_leaves_the_ratio_open() -> None:
    found = ratio_of(Estimate(2.0, 1.9, 2.1), Estimate(3.0, 2.9))
    assert found.low is not None
    assert found.high is None


# Against history.


def histories(found: NightSummary, scale: float = 1.0, lasted: int = 1) -> dict[SeriesKey, SeriesHistory]:
    """Forty calm nights at ``scale`` times tonight's figures; tonight's own level for the last ``lasted``."""
    rng = np.random.default_rng(5)
    known = {}
    for row in against_history(found, {}, [], POLICY).series:
        assert row.after is not None
        level = row.after.value * np.r_[np.full(41 - lasted, scale), np.ones(lasted - 1)]
        values = level * np.exp(rng.normal(0.0, 0.01, 40))
        earlier = [Point(f"night {number}", float(value)) for number, value in enumerate(values)]
        tonight = Point("tonight", row.after.value, row.after.low, row.after.high)
        known[row.key] = SeriesHistory((*earlier, tonight))
    return known


LATENCIES = {Metric.LATENCY_P50_NS, Metric.LATENCY_P99_NS}


@pytest.mark.parametrize(
    ("scale", "worse"),
    [(1 / 1.12, LATENCIES), (1.15, {Metric.THROUGHPUT_RPS})],
    ids=["latency up", "throughput down"],
)
def test_a_level_that_shifted_and_stayed_is_regressed(scale: float, worse: set[Metric]) -> None:
    tonight = night(MODELS, 1, spread=0.005)
    found = against_history(tonight, histories(tonight, scale, lasted=9), [], POLICY)
    assert found.exit_code == 1
    assert {metric for (_, metric), each in verdicts(found).items() if each == Verdict.REGRESSED} == worse


def test_a_night_like_those_before_it_passes() -> None:
    tonight = night(MODELS, 1, spread=0.005)
    found = against_history(tonight, histories(tonight), [], POLICY)
    assert (found.exit_code, set(verdicts(found).values())) == (0, {Verdict.OK})


def test_one_night_that_is_much_worse_never_passes() -> None:
    tonight = night(MODELS, 1, spread=0.005)
    known = histories(tonight)
    worse = next(key for key in known if key.metric is Metric.LATENCY_P50_NS)
    known[worse] = histories(tonight, scale=0.6)[worse]
    found = against_history(tonight, known, [], POLICY)
    assert found.exit_code in {1, 3}
    assert found.series[0].key == worse
    assert found.series[0].verdict is not Verdict.OK


def test_series_without_a_history_are_new_and_alone_cannot_pass() -> None:
    tonight = night(MODELS, 1, spread=0.005)
    assert against_history(tonight, {}, [], POLICY).exit_code == 3
    known = histories(tonight)
    known.pop(next(iter(known)))
    assert against_history(tonight, known, [], POLICY).exit_code == 0


def test_what_a_re_run_decided_stands() -> None:
    tonight = night(MODELS, 1, spread=0.005)
    worse = histories(tonight, scale=1 / 1.12, lasted=9)

    def judged(verdict: Verdict, confirmation: str | None) -> int:
        records = [
            JudgementRecord("tonight", key.suite, key.fingerprint, key.metric, verdict, "said", None, confirmation)
            for key in worse
        ]
        return against_history(tonight, worse, records, POLICY).exit_code

    assert judged(Verdict.OK, "refuted") == 0
    assert judged(Verdict.REGRESSED, "confirmed") == 1
    assert judged(Verdict.ENVIRONMENT, None) == 3
    assert judged(Verdict.SUSPECTED, None) == 1


def test_a_server_that_did_not_come_up_is_lost() -> None:
    calm = night(MODELS, 1)
    of = case()
    gone = MissingRecord(
        *("tonight", "abc.r1", 1, "flask", "m", of.format, of.precision, {}, of.protocol, 1, of.load),
        *("deployment_failed", "died: exit code 1"),
    )
    found = against_history(night(MODELS, 1, more=[gone]), histories(calm), [], POLICY)
    assert found.exit_code == 3
    assert "died: exit code 1" in found.series[0].detail


# What merge requests read.

KEY = SeriesKey(SUITE, "f00d", Metric.LATENCY_P50_NS)
ROWS = (
    Checked(
        *(KEY, "triton resnet b1, p50 latency", Verdict.REGRESSED, Estimate(4.52e6, 4.47e6, 4.61e6)),
        *(Estimate(4.98e6, 4.9e6, 5.06e6), Estimate(1.102, 1.089, 1.116)),
    ),
    Checked(KEY, "new | one", Verdict.INSUFFICIENT, None, Estimate(1e6), detail="not in the other run"),
    Checked(KEY, "fine", Verdict.OK, Estimate(1e6), Estimate(1e6), Estimate(1.0, 0.99, 1.01)),
)
CHECK = Check(SUITE, "tonight", "run before", ROWS)


def test_words() -> None:
    assert headline(CHECK) == "1 of 3 series regressed against run before; 1 insufficient"
    assert headline(replace(CHECK, series=ROWS[2:])) == "none of 1 series regressed against run before"
    assert in_words(ROWS[0]) == "4.52 ms (4.47 to 4.61) -> 4.98 ms (4.90 to 5.06), 10.2 % slower (8.9 to 11.6 %)"
    assert in_words(ROWS[1]) == "nothing -> 1.00 ms; not in the other run"


def test_junit_has_a_case_a_series_with_failures_and_skips_counted() -> None:
    root = ET.fromstring(junit(CHECK))  # noqa: S314 - our own
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    counts = {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    for element in (root, suite):
        assert {name: element.get(name) for name in counts} == counts
    cases = suite.findall("testcase")
    assert [each.get("name") for each in cases] == [row.label for row in ROWS]
    assert {each.get("classname") for each in cases} == {"nightbench.nightly"}
    assert [[child.tag for child in each] for each in cases] == [["failure"], ["skipped"], ["system-out"]]
    assert "10.2 % slower" in (cases[0][0].get("message") or "")


def test_markdown_is_a_table_of_what_is_not_fine() -> None:
    text = markdown(CHECK)
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert len(re.findall(r"<tr>", html)) == 3
    assert [html.count(f"<{tag}>") for tag in ("th", "td")] == [5, 10]
    assert "new | one" in html
    assert "fine" not in html


@given(st.text())
def test_no_name_breaks_what_is_written(name: str) -> None:
    rows = tuple(replace(row, label=name, detail=name) for row in ROWS)
    check = replace(CHECK, series=rows, suite=name, against=name)
    root = ET.fromstring(junit(check))  # noqa: S314 - our own
    assert len(root.findall("testsuite/testcase")) == 3
    html = MarkdownIt("commonmark").enable("table").render(markdown(check))
    assert len(re.findall(r"<tr>", html)) == 3
