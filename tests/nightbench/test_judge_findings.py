"""What deserves an alert beside figures: parity, servers that fail, baselines that expire."""

from dataclasses import replace

import pytest

from nightbench.figures import Estimate
from nightbench.judge.alert import AlertKind
from nightbench.judge.findings import DRIFT_FACTOR, expired_baselines, failed_servers, parity_breaks
from nightbench.judge.policy import JudgePolicy
from nightbench.model import Format, Precision
from nightbench.record import DeploymentRecord, MissingRecord, ParityRecord, WireParityRecord
from nightbench.server import Protocol
from tests.nightbench.judged import NOW, case, cell_rounds, night_of, series, steady

EXPORT = ParityRecord(
    run_id="tonight",
    model="resnet",
    format=Format.ONNX,
    precision=Precision.FP16,
    artifact_sha256="new",
    output="logits",
    batch=4,
    max_abs=1e-3,
    max_rel=1e-3,
    cosine=0.999999,
    top1_agreement=1.0,
    passed=True,
    rmse=1e-3,
    nrmse=1e-3,
)
WIRE = WireParityRecord(
    run_id="tonight",
    deployment_id="d",
    model="resnet",
    format=Format.ONNX,
    precision=Precision.FP16,
    artifact_sha256="new",
    server="triton",
    protocol=Protocol.RAW_HTTP,
    batch=1,
    output="logits",
    max_abs=1.0,
    max_rel=1.0,
    rmse=1.0,
    nrmse=0.5,
    cosine=0.5,
    top1_agreement=0.1,
    top5_agreement=0.1,
    items=16,
    answered=True,
    passed=False,
    detail="max_abs 1 is more than 0.01",
)
BEFORE = replace(EXPORT, artifact_sha256="old")


def test_an_export_that_does_not_match_is_one_finding_whatever_its_outputs() -> None:
    broken = [replace(EXPORT, passed=False, batch=batch, detail="too far") for batch in (1, 4)]
    (found,) = parity_breaks(night_of(*broken), []).findings
    assert (found.kind, found.subject) == (AlertKind.PARITY, "model resnet onnx fp16")
    assert "no longer matches PyTorch" in found.title
    assert "batch 1: too far; output logits at batch 4: too far" in found.detail


def test_a_server_that_answers_wrongly_is_a_finding_of_its_own() -> None:
    looked = parity_breaks(night_of(EXPORT, WIRE), [])
    assert [found.subject for found in looked.findings] == ["server triton, model resnet"]
    assert looked.subjects == {
        (AlertKind.PARITY, "server triton, model resnet"),
        (AlertKind.PARITY, "model resnet onnx fp16"),
    }


def test_a_server_that_did_not_answer_says_nothing_of_its_numbers() -> None:
    looked = parity_breaks(night_of(replace(WIRE, answered=False)), [])
    assert (looked.findings, looked.subjects) == ((), frozenset())


def test_a_new_artifact_that_strays_further_drifts_though_it_passes() -> None:
    far = replace(EXPORT, nrmse=1.01 * DRIFT_FACTOR * 1e-3)
    (found,) = parity_breaks(night_of(far), [BEFORE]).findings
    assert "its numbers drift" in found.title
    assert "0.001 -> 0.004" in found.detail


@pytest.mark.parametrize(
    ("tonight", "before"),
    [
        (replace(EXPORT, nrmse=0.9 * DRIFT_FACTOR * 1e-3), BEFORE),
        (replace(EXPORT, nrmse=0.01), replace(BEFORE, artifact_sha256="new")),
        (replace(EXPORT, nrmse=0.01), replace(BEFORE, output="other")),
        (replace(EXPORT, nrmse=1e-6), replace(BEFORE, nrmse=1e-9)),
    ],
    ids=["little", "the same artifact", "another output", "rounding"],
)
def test_what_is_no_drift(tonight: ParityRecord, before: ParityRecord) -> None:
    assert parity_breaks(night_of(tonight), [before]).findings == ()


def test_drift_is_seen_against_a_record_from_before_nrmse_was_taken() -> None:
    old = replace(BEFORE, nrmse=None, cosine=1.0 - 0.5 * 1e-3**2)
    assert parity_breaks(night_of(EXPORT), [old]).findings == ()
    assert parity_breaks(night_of(replace(EXPORT, nrmse=0.01)), [old]).findings


def start(number: int, failure: str | None, server: str = "triton") -> DeploymentRecord:
    of = case(server)
    return DeploymentRecord(
        "tonight", f"{server}-{number}", number, server, "1", "env", of.model, of.format, of.precision, of.options, NOW,
        None, None, None, {}, "log", "died" if failure else None, failure,
    )  # fmt: skip


def gap(reason: str, server: str = "triton") -> MissingRecord:
    of = case(server)
    return MissingRecord(
        "tonight", f"{of.fingerprint[:12]}.r1", 1, server, of.model, of.format, of.precision, of.options, of.protocol,
        of.batch, of.load, reason, "and why",  # type: ignore[arg-type]  # the test names one of them
    )  # fmt: skip


def test_a_server_that_never_came_up_is_a_finding() -> None:
    (found,) = failed_servers(night_of(start(1, "no memory"), start(2, "no memory"), gap("deployment_failed"))).findings
    assert (found.kind, found.subject) == (AlertKind.FAILED_SERVER, "server triton")
    assert "did not come up in 2 starts: no memory" in found.detail


def test_one_failed_start_of_two_is_a_doubt_and_no_finding() -> None:
    looked = failed_servers(night_of(start(1, None), start(2, "no memory"), *cell_rounds(case())))
    assert looked.findings == ()
    assert (AlertKind.FAILED_SERVER, "server triton") in looked.subjects


def test_a_cell_that_could_not_be_measured_is_its_servers_failure() -> None:
    (found,) = failed_servers(night_of(start(1, None), gap("measuring_failed"))).findings
    assert found.subject == "server triton"
    assert "resnet b1 raw-http closed c4 was not measured: and why" in found.detail


def test_a_model_that_could_not_be_exported_is_no_servers_failure() -> None:
    (found,) = failed_servers(night_of(gap("export_failed", "triton"), gap("export_failed", "flask"))).findings
    assert found.subject == "export resnet onnx fp32"
    assert found.detail == "and why"


def test_wrong_numbers_are_told_once() -> None:
    assert failed_servers(night_of(start(1, None), gap("parity_failed"))).findings == ()


POLICY = JudgePolicy(expires_nights=5)


def test_a_baseline_without_a_valid_night_for_long_expires() -> None:
    each = series(steady(), doubts=["errors"])
    points = each.history.points
    old = replace(
        each, history=replace(each.history, points=tuple(replace(p, doubted=at >= 35) for at, p in enumerate(points)))
    )
    (found,) = expired_baselines([old, series(steady(), "flask")], POLICY).findings
    assert (found.kind, found.subject) == (AlertKind.BASELINE_EXPIRED, "server triton")
    assert "(tonight: errors)" in found.detail
    younger = tuple(replace(p, doubted=at >= 36) for at, p in enumerate(points))
    assert expired_baselines([replace(each, history=replace(each.history, points=younger))], POLICY).findings == ()


def test_a_series_that_never_had_a_baseline_has_none_to_lose() -> None:
    each = series(steady(), doubts=["few_rounds"])
    never = replace(each.history, points=tuple(replace(point, doubted=True) for point in each.history.points))
    assert expired_baselines([replace(each, history=never)], POLICY).findings == ()
    assert expired_baselines([replace(each, history=replace(never, anchor=Estimate(1.0)))], POLICY).findings
