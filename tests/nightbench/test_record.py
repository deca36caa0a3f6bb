"""Records survive the trip through the spool, and a case's fingerprint is its identity."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nightbench.errors import NightbenchError
from nightbench.figures import Doubt, Estimate, Reason, SearchFigures, SearchStep, Series, StreamFigures
from nightbench.load import Arrival, ClosedLoop, EndedBy, Goal, Load, OpenLoop, PeakShare, Search, Trace
from nightbench.model import Format, Precision
from nightbench.record import (
    CalibrationRecord,
    Case,
    MeasurementRecord,
    MissingRecord,
    Record,
    RunFinished,
    decode,
    encode,
)
from nightbench.server import Protocol

CASE = Case(
    model="m",
    model_version=1,
    artifact_sha256="ab",
    format=Format.ONNX,
    precision=Precision.FP32,
    server="triton",
    options={"instances": 1, "batching": False},
    protocol=Protocol.KSERVE_GRPC,
    batch=1,
    load=OpenLoop(20.0),
    threads=1,
    hardware="cpu x1",
    version=1,
)
NOW = datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC)
MEASUREMENT = MeasurementRecord(
    run_id="r",
    cell_id="c.r1",
    round=1,
    deployment_id="d",
    case=CASE,
    started_at=NOW,
    warmup_ns=5,
    measured_ns=10,
    counts={"ok": 9, "timeout": 1},
    offered_rps=20.0,
    throughput_rps=Estimate(18.0, 17.0, None),
    latency_ns={"p50": Estimate(1e6, 0.9e6, 1.1e6)},
    service_ns={},
    lag_ns={"p50": 3.5},
    histogram="HIST",
    client_cpu_ns_per_request=None,
    telemetry=(Series("server", "rss_bytes", (0, 200), (1.0, 2.0)),),
    context={"kernel": "6"},
    doubts=(Doubt(Reason.ERRORS, "1 of 10 failed"),),
)

P50 = {"p50": Estimate(2e6, 1.9e6, 2.2e6)}
STREAMED = replace(
    MEASUREMENT,
    ended_by=EndedBy.PRECISION,
    pacing="spin",
    hiccups_ns={"p99": 5_000, "max": 90_000},
    ceiling_share=0.3,
    stream=StreamFigures(P50, P50, 900, Estimate(88.0, 80.0), Estimate(5.0), {"ttft_ms": 200.0}),
)
SEARCHED = replace(
    MEASUREMENT,
    case=replace(CASE, load=Search(Goal.SLO, 50.0)),
    search=SearchFigures(
        (
            SearchStep(OpenLoop(20.0), Estimate(19.9), P50, 0, EndedBy.DURATION),
            SearchStep(
                *(OpenLoop(40.0, Arrival.GAMMA, 0.5), Estimate(31.0), P50, 7, EndedBy.OVER_SATURATED),
                (Doubt(Reason.OVER_SATURATED, "the backlog grew"),),
            ),
        ),
        0,
        Estimate(20.0, 20.0, 40.0),
        "40 rps broke the bound",
    ),
)


@pytest.mark.parametrize(
    "record",
    [
        MEASUREMENT,
        STREAMED,
        SEARCHED,
        replace(MEASUREMENT, case=replace(CASE, load=PeakShare(0.7, Arrival.GAMMA, 0.5))),
        replace(MEASUREMENT, case=replace(CASE, load=OpenLoop(20.0, Arrival.TRACE, trace=Trace("/a", "ab")))),
        CalibrationRecord(
            *("r", 1, Protocol.RAW_HTTP, "m", 1, 100, 20, NOW, Estimate(9e4, 8e4, None), P50, 7e3, "server", "died"),
        ),
        RunFinished("r", NOW, "cancelled", {"ours": 1}, "by hand", {"cell": 2}),
        MissingRecord(
            "r", "c.r1", 1, "s", "m", Format.ONNX, Precision.FP32, {"a": True}, Protocol.RAW_HTTP, 1, ClosedLoop(4),
            "parity_failed", "why",
        ),
    ],
)  # fmt: skip
def test_a_record_comes_back_as_it_went(record: Record) -> None:
    line = encode(record)
    assert b"\n" not in line
    assert decode(line) == record


def test_a_line_of_an_earlier_version_is_still_a_record() -> None:
    """As spooled before there were streams, searches and ends other than by time."""
    line = (
        b'{"run_id":"r","cell_id":"c.r1","round":1,"deployment_id":"d","case":{"model":"m","model_version":1,'
        b'"artifact_sha256":"ab","format":"onnx","precision":"fp32","server":"triton","options":{"instances":1,'
        b'"batching":false},"protocol":"kserve-grpc","batch":1,"load":{"rate_rps":20.0,"arrival":"poisson"},'
        b'"threads":1,"hardware":"cpu x1","version":1},"started_at":"2026-11-20T01:02:03Z","warmup_ns":5,'
        b'"measured_ns":10,"counts":{"ok":9,"timeout":1},"offered_rps":20.0,"throughput_rps":{"value":18.0,'
        b'"low":17.0,"high":null},"latency_ns":{"p50":{"value":1000000.0,"low":900000.0,"high":1100000.0}},'
        b'"service_ns":{},"lag_ns":{"p50":3.5},"histogram":"HIST","client_cpu_ns_per_request":null,'
        b'"telemetry":[{"source":"server","metric":"rss_bytes","offset_ms":[0,200],"values":[1.0,2.0]}],'
        b'"context":{"kernel":"6"},"doubts":[{"reason":"errors","detail":"1 of 10 failed","figures":[]}],'
        b'"kind":"measurement"}'
    )
    assert decode(line) == MEASUREMENT


def test_what_is_no_record_is_refused_by_name() -> None:
    for line in (b"", b"{}", b"[]", b'{"kind": "measurement"}', b"\xff"):
        with pytest.raises(NightbenchError, match="not a record"):
            decode(line)


def test_failed_requests_are_those_that_are_not_ok() -> None:
    assert (MEASUREMENT.ok, MEASUREMENT.failed) == (9, 1)


def test_the_fingerprint_does_not_depend_on_the_order_of_options() -> None:
    turned = replace(CASE, options={"batching": False, "instances": 1})
    assert turned.fingerprint == CASE.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"model_version": 2},
        {"artifact_sha256": "cd"},
        {"server": "flask"},
        {"options": {"instances": 2, "batching": False}},
        {"options": {"instances": 1, "batching": True}},
        {"protocol": Protocol.KSERVE_HTTP},
        {"batch": 2},
        {"load": OpenLoop(21.0)},
        {"load": ClosedLoop(20)},
        {"load": OpenLoop(20.0, Arrival.GAMMA, 0.5)},
        {"load": PeakShare(20.0)},
        {"load": Search(Goal.PEAK)},
        {"threads": 2},
        {"hardware": "cpu x2"},
        {"version": 2},
    ],
)
def test_every_part_of_the_identity_changes_the_fingerprint(change: dict[str, object]) -> None:
    assert replace(CASE, **change).fingerprint != CASE.fingerprint  # type: ignore[arg-type]  # one field at a time


@pytest.mark.parametrize(
    ("load", "fingerprint"),
    [
        (ClosedLoop(4), "f75a2f97109fe15c59a324f6464d80b7"),
        (OpenLoop(20.0), "134384b74b57da960e8059fa37e5bcb1"),
        (OpenLoop(20.5, Arrival.CONSTANT), "7ceb4210edb315cf328ab71b4a0afd70"),
    ],
)
def test_series_of_earlier_versions_go_on(load: Load, fingerprint: str) -> None:
    assert replace(CASE, load=load).fingerprint == fingerprint


def test_a_trace_is_named_by_its_content_wherever_it_lies() -> None:
    here, there, other = Trace("/here", "ab"), Trace("/there", "ab"), Trace("/here", "cd")
    fingerprints = [
        replace(CASE, load=OpenLoop(20.0, Arrival.TRACE, trace=trace)).fingerprint for trace in (here, there, other)
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert here == there != other


def test_every_choice_of_a_load_is_another_series() -> None:
    loads: list[Load] = [
        *(OpenLoop(20.0, Arrival.GAMMA, 0.5), OpenLoop(20.0, Arrival.GAMMA, 2.0)),
        *(PeakShare(0.7), PeakShare(0.8), PeakShare(0.7, Arrival.GAMMA, 0.5)),
        *(Search(Goal.PEAK), Search(Goal.PEAK, most_concurrent=8), Search(Goal.KNEE), Search(Goal.SLO, 5.0)),
        Search(Goal.SLO, 5.0, Arrival.CONSTANT),
    ]
    assert len({replace(CASE, load=load).fingerprint for load in loads}) == len(loads)
