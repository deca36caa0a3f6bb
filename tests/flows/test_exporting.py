"""Exports of a night: several at once, each on record, and a bad model of the user's costs only its own cells."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from db import spool
from export.isolated import Prepared
from nightbench.errors import ExportError
from nightbench.ledger import Ledger
from nightbench.model import Artifact, Format, InputPool, ModelSpec, Precision
from nightbench.plan import Export
from nightbench.record import ArtifactRecord, MeasurementRecord, MissingRecord, Record
from nightbench.settings import Settings
from nightbench.stopping import Stopped
from nightbench.suite import parse_suite
from tasks import export as stage
from tasks.export import Exported, Unusable, export_all, export_width
from tasks.progress import Silent
from tasks.session import Cancelled, Session
from tests.flows.conftest import Bench

SUITE = "{name: s, sweeps: [{models: [a], servers: [a], loads: [{closed: 1}]}]}"
EXPORTS = [
    Export(model, file_format, Precision.FP32, "random")
    for model in ("one", "two")
    for file_format in (Format.TORCHSCRIPT, Format.ONNX, Format.OPENVINO)
]


class Book:
    """A session as far as exporting needs one, and a stand-in for the work, told by a function."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[str, Format], None]) -> None:
        self.records: list[Record] = []
        self.stop = threading.Event()
        self.works = work
        monkeypatch.setattr(stage, "prepare", self._prepare)
        monkeypatch.setattr(stage, "export_width", lambda _: 4)
        spec = {name: cast("ModelSpec", SimpleNamespace(name=name, version=1)) for name in ("one", "two")}
        made = SimpleNamespace(
            run_id="r",
            suite=parse_suite(SUITE, "s"),
            catalog=SimpleNamespace(models=spec),
            settings=Settings.from_environment({"NIGHTBENCH_HOME": str(folder), "NIGHTBENCH_CACHE": str(folder)}),
            folder=folder,
            progress=Silent(),
            ledger=Ledger(),
            should_stop=self.stop.is_set,
            record=self.records.append,
            check_stop=lambda: None,
            cancelled=lambda: Cancelled("cancelled"),
        )
        self.session = cast("Session", made)

    def _prepare(self, spec: ModelSpec, file_format: Format, *given: Any, **more: Any) -> Prepared:
        if more["should_stop"]():
            raise Stopped("stopped")
        self.works(spec.name, file_format)
        artifact = Artifact(spec.name, file_format, Precision.FP32, "random", Path("a"), "sha", 1, peak_rss_bytes=5)
        return Prepared(artifact, InputPool(spec.name, "random", 1, Path("p"), "sha"), (), cached=False)


def test_models_are_exported_at_once_and_the_formats_of_one_after_its_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)
    begun: list[tuple[str, Format]] = []

    def work(model: str, file_format: Format) -> None:
        begun.append((model, file_format))
        if file_format is Format.ONNX:
            together.wait(60)  # breaks unless both models are at work

    book = Book(tmp_path, monkeypatch, work)
    done = export_all(book.session, EXPORTS)
    assert list(done) == EXPORTS
    assert all(isinstance(each, Exported) for each in done.values())
    for model in ("one", "two"):
        assert next(file_format for name, file_format in begun if name == model) is Format.ONNX
    assert {
        (each.model, each.format, each.peak_rss_bytes) for each in book.records if isinstance(each, ArtifactRecord)
    } == {(export.model, export.format, 5) for export in EXPORTS}


def test_one_failure_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(model: str, file_format: Format) -> None:
        if (model, file_format) == ("one", Format.ONNX):
            raise ExportError("it hangs")

    book = Book(tmp_path, monkeypatch, work)
    done = export_all(book.session, EXPORTS)
    assert [export for export, each in done.items() if isinstance(each, Unusable)] == [EXPORTS[1]]
    failures = {each.failure for each in book.records if isinstance(each, ArtifactRecord)}
    assert failures == {None, "it hangs"}


def test_a_file_that_cannot_be_read_costs_only_its_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(model: str, file_format: Format) -> None:
        if model == "one":
            raise PermissionError(13, "Permission denied", "net.data")

    book = Book(tmp_path, monkeypatch, work)
    done = export_all(book.session, EXPORTS)
    assert {export.model for export, each in done.items() if isinstance(each, Unusable)} == {"one"}
    failures = {each.failure for each in book.records if isinstance(each, ArtifactRecord) and each.model == "one"}
    assert len(failures) == 3  # a sentence for each format
    assert all("PermissionError: [Errno 13] Permission denied: 'net.data'" in (each or "") for each in failures)


def test_what_no_database_takes_is_not_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(model: str, file_format: Format) -> None:
        raise ExportError("a file called \udcff\0")

    book = Book(tmp_path, monkeypatch, work)
    export_all(book.session, EXPORTS[:1])
    (failed,) = (each for each in book.records if isinstance(each, ArtifactRecord))
    assert failed.failure == "a file called \ufffd\ufffd"


def test_a_stop_is_passed_on_and_what_ended_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(model: str, file_format: Format) -> None:
        if file_format is not Format.ONNX:
            book.stop.set()
            raise Stopped("stopped")

    book = Book(tmp_path, monkeypatch, work)
    with pytest.raises(Cancelled):
        export_all(book.session, EXPORTS[:3])
    assert [each.format for each in book.records if isinstance(each, ArtifactRecord)] == [Format.ONNX]


def test_an_unexpected_error_is_raised_and_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def work(model: str, file_format: Format) -> None:
        begun.append(model)
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(stage, "export_width", lambda _: 1)
    book = Book(tmp_path, monkeypatch, work)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        export_all(book.session, [replace(each, format=Format.ONNX) for each in EXPORTS[:1]])
    assert begun == ["one"]


def test_the_width_is_what_memory_allows_and_never_none() -> None:
    assert export_width(1e18) == 1
    assert export_width(1.0) >= 1


NET = """
import torch

def make():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))

def broken():
    raise ValueError("the weights are not here")
"""
NIGHT = """
name: own
rounds: 1
parity_batches: [1, 3]
measure: {warmup_s: 0.2, duration_s: 0.5, timeout_s: 3, calibrate: false}
sweeps:
  - models: [{MODELS}]
    servers: [toy]
    loads: [{closed: 1}]
"""


def model(name: str, what: str) -> str:
    tensors = "inputs: [{name: x, shape: [3, 4]}], outputs: [{name: y, shape: [5]}]"
    return f"{{name: {name}, custom: {{{what}, {tensors}}}}}"


def records(bench: Bench) -> list[list[Record]]:
    return [list(spool.read(path).records) for path in sorted((bench.home / "spool").glob("*.jsonl"))]


def test_a_bad_custom_model_is_a_stored_failure_and_the_others_are_measured(bench: Bench) -> None:
    (bench.home / "nets").mkdir()
    (bench.home / "nets/users_night.py").write_text(NET)
    (bench.home / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    models = [
        model("good", "factory: 'users_night:make', path: nets"),
        model("broken", "factory: 'users_night:broken', path: nets"),
        model("cut", "file: cut.pt"),
    ]
    suite = bench.home / "suite.yaml"
    suite.write_text(NIGHT.replace("{MODELS}", ", ".join(models)))
    code, output = bench.run("plan", str(suite))
    assert code == 0, output
    code, output = bench.run("run", str(suite), "--offline")
    assert code == 3, output
    assert "Traceback" not in output
    (night,) = records(bench)
    failures = {each.model: each.failure or "" for each in night if isinstance(each, ArtifactRecord)}
    assert "users_night:broken raised ValueError: the weights are not here" in failures["broken"]
    assert "cut.pt is cut off" in failures["cut"]
    assert failures["good"] == ""
    assert [each.case.model for each in night if isinstance(each, MeasurementRecord)] == ["good"]
    assert {each.model for each in night if isinstance(each, MissingRecord)} == {"broken", "cut"}
    # Another night exports nothing anew.
    suite.write_text(NIGHT.replace("{MODELS}", models[0]))
    assert bench.run("run", str(suite), "--offline")[0] == 0
    nights = [record for night in records(bench) for record in night]
    cached = [each.cached for each in nights if isinstance(each, ArtifactRecord) and each.model == "good"]
    assert cached == [False, True]
    assert len({each.case.fingerprint for each in nights if isinstance(each, MeasurementRecord)}) == 1
