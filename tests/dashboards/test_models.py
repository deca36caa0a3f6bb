"""What the report says of exports and of parity, on the file and over the wire."""

from dataclasses import replace

import pytest

from dashboards.report.findings import troubles
from dashboards.report.models import artifacts, parity, wire
from nightbench.model import Format, Precision
from nightbench.record import WireParityRecord
from nightbench.server import Protocol
from nightbench.summary import NightSummary


def _wire(deployment_id: str = "d0", *, passed: bool = True, nrmse: float = 1e-6) -> WireParityRecord:
    return WireParityRecord(
        *("run", deployment_id, "resnet50", Format.ONNX, Precision.INT8, "sha", "triton", Protocol.KSERVE_GRPC, 8),
        *("logits", 1e-5, 1e-4, 1e-6, nrmse, 0.9999, 1.0, 1.0, 16, True, passed),
        "" if passed else "item 0 is off",
    )


@pytest.fixture
def strayed(night: NightSummary) -> NightSummary:
    return replace(night, wire_parity=(_wire(), _wire("d1", passed=False, nrmse=0.3), _wire("d2", nrmse=0.5)))


def test_several_starts_are_one_row_of_the_one_that_failed(strayed: NightSummary) -> None:
    (row,) = wire(strayed.wire_parity)
    assert (row.server, row.format, row.starts, row.batch) == ("triton", "onnx int8", 3, 8)
    assert (row.distance.passed, row.distance.detail) == (False, "item 0 is off")


def test_a_server_that_answered_wrongly_stands_out(strayed: NightSummary) -> None:
    assert "triton answers for resnet50 in int8 with other numbers than PyTorch." in troubles(strayed)


def test_no_answer_is_no_wrong_answer(night: NightSummary) -> None:
    dumb = replace(_wire(passed=False), answered=False, items=0)
    told = troubles(replace(night, wire_parity=(dumb,)))
    assert "triton could not be asked about resnet50 in int8: a request got no answer." in told
    assert not any("other numbers" in sentence for sentence in told)


def test_the_first_layer_that_strays_is_named(night: NightSummary) -> None:
    failed = next(record for record in night.parity if not record.passed)
    (row,) = parity([replace(failed, diverges_at="encoder.layer.3 (aten.linear)", nrmse=0.25, top5_agreement=0.5)])
    assert row.distance.detail.endswith("; it strays first at encoder.layer.3 (aten.linear)")
    assert (row.distance.nrmse, row.distance.top5) == ("0.25", "50.0 %")


def test_the_memory_of_an_export_is_shown(night: NightSummary) -> None:
    (row,) = artifacts([replace(night.artifacts[0], peak_rss_bytes=1536 * 2**20)])
    assert row.memory == "1,536 MiB"
