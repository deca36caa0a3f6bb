"""Records survive the trip through the spool, and a case's fingerprint is its identity."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nightbench.errors import NightbenchError
from nightbench.load import ClosedLoop, OpenLoop
from nightbench.model import Format, Precision
from nightbench.record import (
    Case,
    Doubt,
    Estimate,
    MeasurementRecord,
    MissingRecord,
    Reason,
    RunFinished,
    Series,
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


@pytest.mark.parametrize(
    "record",
    [
        MEASUREMENT,
        RunFinished("r", NOW, "cancelled", {"ours": 1}, "by hand", {"cell": 2}),
        MissingRecord(
            "r", "c.r1", 1, "s", "m", Format.ONNX, Precision.FP32, {"a": True}, Protocol.RAW_HTTP, 1, ClosedLoop(4),
            "parity_failed", "why",
        ),
    ],
)  # fmt: skip
def test_a_record_comes_back_as_it_went(record: MeasurementRecord | RunFinished | MissingRecord) -> None:
    line = encode(record)
    assert b"\n" not in line
    assert decode(line) == record


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
        {"threads": 2},
        {"hardware": "cpu x2"},
        {"version": 2},
    ],
)
def test_every_part_of_the_identity_changes_the_fingerprint(change: dict[str, object]) -> None:
    assert replace(CASE, **change).fingerprint != CASE.fingerprint  # type: ignore[arg-type]  # one field at a time
