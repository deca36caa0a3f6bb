"""Parity is a series like any other: one row a night, with what made the artifact."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from db.engine import open_engine
from db.store import Store
from nightbench.model import Format, Precision
from nightbench.record import ArtifactRecord, ParityRecord, Record, WireParityRecord
from nightbench.server import Protocol

MONDAY = datetime(2026, 11, 16, 3, tzinfo=UTC)


def _parity(run: str, sha256: str, batch: int, nrmse: float) -> ParityRecord:
    fixed = ("resnet50", Format.ONNX, Precision.FP32)
    return ParityRecord(
        run, *fixed, sha256, "logits", batch, 1e-5, 1e-4, 1.0, 1.0, passed=True, rmse=nrmse, nrmse=nrmse
    )


def test_drift_between_exporter_versions_shows_beside_its_cause(
    store: Store, url: str, night: Callable[..., list[Record]]
) -> None:
    for day, (exporter, nrmse) in enumerate([("2.12", 1e-6), ("2.13", 4e-6)]):
        run, sha256 = f"night-{day}", f"sha-{exporter}"
        start = night(run, started_at=MONDAY + timedelta(days=day))[0]
        made = ArtifactRecord(
            *(run, "resnet50", 1, Format.ONNX, Precision.FP32, "random", sha256, 10, 10, False, {"torch": exporter}),
            reproducible=True,
        )
        store.ingest([start, made, _parity(run, sha256, 1, nrmse), _parity(run, sha256, 4, nrmse / 2)])
    with open_engine(url, pooled=False).connect() as connection:
        rows = connection.execute(
            text("SELECT exporter ->> 'torch', nrmse, passed FROM parity_nights ORDER BY run_started_at")
        ).all()
    assert [tuple(row) for row in rows] == [("2.12", 1e-6, True), ("2.13", 4e-6, True)]


def test_what_servers_answered_is_one_row_a_server_and_night(
    store: Store, url: str, night: Callable[..., list[Record]]
) -> None:
    first = WireParityRecord(
        *("night-1", "d0", "resnet50", Format.ONNX, Precision.FP32, "sha", "onnxruntime", Protocol.RAW_HTTP, 1),
        *("logits", 1e-5, 1e-4, 1e-6, 2e-6, 1.0, 1.0, 1.0),
        items=16,
        answered=True,
        passed=True,
    )
    second = replace(first, deployment_id="d1", nrmse=3e-6, items=3, answered=False, passed=False)
    store.ingest([*night(), first, second])
    assert [each for each in store.records("night-1") if isinstance(each, WireParityRecord)] == [first, second]
    with open_engine(url, pooled=False).connect() as connection:
        row = connection.execute(
            text("SELECT deployments, passed, answered, items, nrmse FROM wire_parity_nights")
        ).one()
    assert tuple(row) == (2, False, False, 3, 3e-6)
