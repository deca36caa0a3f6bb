"""Two runs side by side, and what a night's own judge said of it."""

from dataclasses import replace
from typing import Any

import pytest

from dashboards.report.compared import compared
from dashboards.report.page import render
from dashboards.report.told import Against, Told
from dashboards.report.unmatched import unmatched
from dashboards.report.verdicts import verdicts
from nightbench.figures import Estimate
from nightbench.judge.check import against_run
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import Metric
from nightbench.judge.verdict import Change, Outcome, Verdict
from nightbench.load import ClosedLoop
from nightbench.record import ConfirmationRecord, JudgementRecord, MeasurementRecord, Record
from nightbench.summary import NightSummary, summarise
from tests.dashboards.conftest import RUN, night_records
from tests.dashboards.wide import in_containers, times

MODELS = ("mobilenet_v2",)
BEFORE = "2026-11-19-smoke-aaaa"


def records(*, slow: str = "", factor: float = 1.0) -> list[Record]:
    return [
        replace(
            record,
            latency_ns={name: times(each, factor) for name, each in record.latency_ns.items()},
            throughput_rps=times(record.throughput_rps, 1 / factor),
        )
        if isinstance(record, MeasurementRecord) and record.case.server == slow
        else record
        for record in night_records(MODELS)
    ]


def earlier(found: list[Record]) -> NightSummary:
    return summarise([replace(record, run_id=BEFORE) for record in found])


def held(night: NightSummary, before: NightSummary) -> Against:
    return Against(before, against_run(night, before, JudgePolicy()))


@pytest.fixture(scope="module")
def slower() -> tuple[NightSummary, Against]:
    night = summarise(records(slow="onnxruntime", factor=1.5))
    return night, held(night, earlier(records()))


def test_what_regressed_comes_first_with_its_ratio(slower: tuple[NightSummary, Against]) -> None:
    night, against = slower
    said, history = verdicts(night, Told(against=against))
    assert said.heading == f"Against run {BEFORE}"
    assert "regressed against run" in said.lead
    assert said.rows
    assert {row.verdict for row in said.rows} == {"regressed"}
    assert {row.series.partition(",")[0] for row in said.rows} == {"onnxruntime"}
    median = next(row for row in said.rows if row.metric == "p50 latency" and "closed c1" in row.series)
    assert "50.0 % slower (" in median.change
    assert len(said.every) == len(compared(night, against)) > len(said.rows)
    assert said.apart == ()
    assert history.lead.startswith("Its series were not judged")
    page = render(night, {}, Told(against=against))
    assert page.index("50.0 % slower") < page.index("What stands out</h2>")


def test_doubted_figures_move_without_a_verdict(slower: tuple[NightSummary, Against]) -> None:
    night, against = slower
    doubted = [each for each in compared(night, against) if each.doubts_after]
    assert doubted
    for each in doubted:
        assert each.checked.verdict is Verdict.INVALID
        assert each.checked.ratio is not None
    assert {reason for each in doubted for reason in each.doubts_after} == {"errors", "late sends", "foreign load"}
    assert [each.checked.verdict for each in compared(night, against)][-1] is Verdict.INVALID


def test_containers_are_never_held_against_processes() -> None:
    contained = summarise(in_containers(night_records(MODELS)))
    local = earlier(records())
    said = verdicts(contained, Told(against=held(contained, local)))[0]
    assert all(row.series.startswith("pytorch,") for row in said.every)
    told = {(group.run_id, group.why): group.series for group in said.apart}
    assert set(told) == {
        (RUN, "launcher: docker here, process there"),
        (BEFORE, "launcher: process here, docker there"),
    }
    assert "fastapi · docker, mobilenet_v2, closed c1, batch 1" in told[RUN, "launcher: docker here, process there"]
    assert len(told[RUN, "launcher: docker here, process there"]) == 15


def test_nothing_in_common_is_said_in_so_many_words() -> None:
    night = summarise(records())
    other = earlier(
        [
            replace(record, case=replace(record.case, version=2)) if isinstance(record, MeasurementRecord) else record
            for record in records()
        ]
    )
    said = verdicts(night, Told(against=held(night, other)))[0]
    assert said.lead == f"The run has no series in common with run {BEFORE}, so nothing can be compared."
    assert {group.why for group in said.apart} == {
        "benchmark version: 1 here, 2 there",
        "benchmark version: 2 here, 1 there",
    }


def test_what_was_not_measured_or_not_planned_is_told_apart() -> None:
    whole = summarise(records())
    fewer = earlier(records())
    fewer = replace(fewer, cells=tuple(cell for cell in fewer.cells if cell.load != ClosedLoop(4)))
    found = unmatched(fewer, whole)
    assert {(group.run_id, group.why) for group in found} == {(RUN, f"not part of {BEFORE}")}
    gap = next(cell for cell in summarise(night_records()).cells if not cell.rounds and cell.server == "flask")
    gaps = replace(
        fewer,
        cells=tuple(
            replace(gap, model=cell.model, load=cell.load) if cell.server == "flask" else cell for cell in whole.cells
        ),
    )
    assert {group.why for group in unmatched(gaps, whole)} == {f"not measured in {BEFORE}: deployment failed"}


def judgement(night: NightSummary, server: str, verdict: Verdict, **more: Any) -> JudgementRecord:
    cell = next(cell for cell in night.cells if cell.rounds and cell.server == server and cell.load == ClosedLoop(1))
    name = cell.measurements[0].case.fingerprint
    record = JudgementRecord(RUN, "smoke", name, Metric.LATENCY_P50_NS, verdict, "")
    return replace(record, **more)


def test_the_nights_own_verdicts_name_series_and_evidence(night: NightSummary) -> None:
    change = Change(
        since="2026-11-18-smoke-1111",
        last_before="2026-11-17-smoke-0000",
        nights=3,
        before=Estimate(5e6, 4.9e6, 5.1e6),
        after=Estimate(6e6, 5.9e6, 6.1e6),
        p_value=1e-6,
        firm=True,
    )
    confirmation = ConfirmationRecord(
        RUN,
        "c1",
        "smoke",
        "",
        Metric.LATENCY_P50_NS,
        Outcome.CONFIRMED,
        "",
        "x",
        {},
        {},
        Estimate(1.21, 1.18, 1.24),
        4,
        1,
    )
    told = Told(
        judgements=(
            judgement(night, "fastapi", Verdict.OK),
            judgement(night, "flask", Verdict.INVALID, detail="doubted: too_few_samples, canary_moved"),
            judgement(night, "onnxruntime", Verdict.IMPROVED, change=replace(change, after=Estimate(4e6))),
            judgement(night, "triton", Verdict.REGRESSED, change=change, confirmation_id="c1", detail="torch 2.13"),
        ),
        confirmations=(confirmation,),
    )
    (said,) = verdicts(night, told)
    assert said.lead == (
        "Of 4 figures judged, 1 regressed, 1 improved; 1 are as they were; of 1 nothing can be said yet."
    )
    worst, better = said.rows
    assert worst.series.startswith("triton · kserve")
    assert worst.change == "21.0 % slower (18.0 to 24.0 %) in the re-run"
    assert worst.why == "since 2026-11-18-smoke-1111; torch 2.13"
    assert better.change == "-20.0 %"
    assert {(group.verdict, group.number) for group in said.quiet} == {("ok", 1), ("invalid", 1)}
    assert any(why == "doubted: too few samples, canary moved" for group in said.quiet for why, _ in group.reasons)
    page = render(night, {}, told)
    assert "21.0 % slower (18.0 to 24.0 %) in the re-run" in page


def test_doubts_are_listed_where_they_are_explained(night: NightSummary) -> None:
    page = render(night)
    assert f"in 1 of {len(night.cells)} cells" in page
    assert "35 of 880 requests failed (4.0 %), more than 0.1 %" in page[page.index("Doubts, explained") :]


def test_a_night_of_which_nothing_can_be_said_is_not_said_to_be_unchanged(night: NightSummary) -> None:
    told = Told(judgements=tuple(judgement(night, name, Verdict.INVALID) for name in ("fastapi", "flask")))
    (said,) = verdicts(night, told)
    assert said.lead == "Nothing can be said yet of its 2 figures."
