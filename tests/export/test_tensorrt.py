"""TensorRT without TensorRT: what the builder is told, by a stand-in for it, and one sentence where it is not there.

No GPU has run any of it. The stand-in answers the calls that are made of TensorRT 10's Python API and no others.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from export import zoo
from export.formats.base import Work, exporter
from export.formats.tensorrt import MAX_BATCH
from nightbench.errors import ExportError
from nightbench.model import Format, Precision
from tests.export.onnx_work import refuse

KIND = exporter(Format.TENSORRT)
SPEC = zoo.models()["bert_tiny"]


class TensorRT:
    """What the exporter asked of it."""

    def __init__(self, *, parses: bool = True, builds: bool = True) -> None:
        self.parses, self.builds = parses, builds
        self.shapes: dict[str, Any] = {}
        self.read, self.flags, self.cleared = "", 0, ""
        self.profiles: list[Any] = []
        self.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.BuilderFlag = SimpleNamespace(TF32="tf32")

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(
            create_network=lambda flags: setattr(self, "flags", flags),
            create_optimization_profile=lambda: SimpleNamespace(
                set_shape=lambda name, *shapes: self.shapes.update({name: shapes})
            ),
            create_builder_config=lambda: SimpleNamespace(
                add_optimization_profile=self.profiles.append,
                clear_flag=lambda flag: setattr(self, "cleared", flag),
            ),
            build_serialized_network=lambda network, config: b"an engine" if self.builds else None,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        def parse(path: str) -> bool:
            self.read = path
            return self.parses

        said = SimpleNamespace(desc=lambda: "no plugin for GridSample")
        return SimpleNamespace(parse_from_file=parse, num_errors=1, get_error=lambda _: said)

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(deserialize_cuda_engine=lambda content: None)


def work(precision: Precision) -> Work:
    return Work(SPEC, "random", precision, refuse, refuse, lambda form, at: Path(f"{form}-{at}"), {})  # type: ignore[arg-type]


def stand_in(patch: pytest.MonkeyPatch, tensorrt: Any) -> None:
    patch.setitem(sys.modules, "tensorrt", tensorrt)
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Stand-in")


@pytest.mark.parametrize("precision", Format.TENSORRT.precisions)
def test_the_builder_gets_the_onnx_of_the_precision_and_all_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    tensorrt = TensorRT()
    stand_in(monkeypatch, tensorrt)
    facts = KIND.export(work(precision), tmp_path / "engine.plan")
    assert (tmp_path / "engine.plan").read_bytes() == b"an engine"
    assert tensorrt.read == f"onnx-{precision}"
    assert (tensorrt.flags, tensorrt.cleared, len(tensorrt.profiles)) == (0b10, "tf32", 1)
    shapes = ((1, 32), (MAX_BATCH, 32), (MAX_BATCH, 32))
    assert tensorrt.shapes == {"input_ids": shapes, "attention_mask": shapes}
    assert (facts["gpu"], facts["max_batch"]) == ("NVIDIA Stand-in", str(MAX_BATCH))


@pytest.mark.parametrize(
    ("tensorrt", "sentence"),
    [
        (TensorRT(parses=False), "TensorRT cannot read model bert_tiny from ONNX: no plugin for GridSample"),
        (TensorRT(builds=False), "TensorRT cannot build model bert_tiny; the export's log says why"),
    ],
)
def test_what_it_cannot_build_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorrt: TensorRT, sentence: str
) -> None:
    stand_in(monkeypatch, tensorrt)
    with pytest.raises(ExportError, match=sentence):
        KIND.export(work(Precision.FP32), tmp_path / "engine.plan")
    assert not (tmp_path / "engine.plan").exists()


def test_an_engine_of_another_gpu_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine.plan").write_bytes(b"of another")
    stand_in(monkeypatch, TensorRT())
    with pytest.raises(ExportError, match=r"engine\.plan does not load on NVIDIA Stand-in; remove it"):
        KIND.open(tmp_path / "engine.plan", SPEC, {})


def test_without_the_package_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, None)
    with pytest.raises(ExportError, match="package 'tensorrt' is not installed"):
        KIND.export(work(Precision.FP32), tmp_path / "engine.plan")


def test_without_a_gpu_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExportError, match="built and run on an NVIDIA GPU, and there is none here; use onnx"):
        KIND.export(work(Precision.FP32), tmp_path / "engine.plan")
    with pytest.raises(ExportError, match="there is none here"):
        KIND.open(tmp_path / "engine.plan", SPEC, {})
