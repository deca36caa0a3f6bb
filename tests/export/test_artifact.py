"""What decides where in the cache an artifact lies: everything that may change its bytes."""

from collections.abc import Mapping
from errno import EACCES
from pathlib import Path
from typing import Any, cast

import pytest

from export import artifact
from export.artifact import export_model, weights_facts
from export.cache import Cache, NotCached, Request
from export.formats.base import exporter
from export.gpu import gpu_facts
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision


def facts(spec: ModelSpec, file_format: Format) -> Mapping[str, Any]:
    class Asked:
        def get(self, request: Request, _: object) -> None:
            asked.append(request)
            raise NotCached

    asked: list[Request] = []
    with pytest.raises(NotCached):
        export_model(spec, file_format, Precision.FP32, "random", cast("Cache", Asked()), {})
    return asked[0].facts


def test_an_engine_is_that_of_a_gpu_and_its_driver(tiny: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "gpu_facts", lambda: {"gpu": "this one"})
    assert facts(tiny, Format.TENSORRT)["gpu"] == "this one"
    assert "gpu" not in facts(tiny, Format.ONNX)


def test_gpus_as_the_driver_tells_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu_facts(tmp_path) == {"gpu": "none", "gpu_driver": "none", "gpu_visible": "1"}
    for place, model in (("0000:00:06.0", "NVIDIA H200"), ("0000:00:05.0", "NVIDIA L4")):
        (tmp_path / "gpus" / place).mkdir(parents=True)
        (tmp_path / "gpus" / place / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 41\n")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX  580.159.04\nGCC version:  gcc\n")
    told = gpu_facts(tmp_path)
    assert (told["gpu"], told["gpu_driver"]) == ("NVIDIA H200, NVIDIA L4", "NVRM version: NVIDIA UNIX  580.159.04")


@pytest.mark.parametrize("file_format", [Format.ONNX, Format.OPENVINO, Format.TENSORRT])
def test_the_library_that_writes_our_onnx_counts(file_format: Format) -> None:
    assert "onnx-ir" in exporter(file_format).tools


def test_weights_that_cannot_be_read_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")

    def refuse(self: Path) -> bool:
        raise PermissionError(EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ExportError, match=r"weights .*model\.safetensors cannot be read: Permission denied"):
        weights_facts(str(tmp_path))
