"""Files of a user's own: measured as they are, never unpickled, and kept to the memory there is."""

import io
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.cache import Cache, Request
from export.custom_file import adopt
from export.isolated import found
from export.pool import load_pool
from export.signature import read_signature
from nightbench.errors import ExportError
from nightbench.model import Custom as Given
from nightbench.model import Format, Precision
from tests.export.custom_work import onnx_model, spec_of, tried, written


@pytest.mark.parametrize("file_format", [Format.ONNX, Format.TORCHSCRIPT])
def test_a_file_is_measured_as_it_is_and_is_its_own_reference(tmp_path: Path, file_format: Format) -> None:
    if file_format is Format.ONNX:
        path = written(tmp_path, onnx_model())
    else:
        path = tmp_path / "net.pt"
        torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.ones(2, 3)), path)
    done = tried(spec_of(Given(file=path)), tmp_path, file_format)
    assert done.artifact.sha256 == sha256(path.read_bytes()).hexdigest()
    assert all(output.passed for output in done.parity)
    inputs, outputs = load_pool(done.pool)
    if file_format is Format.ONNX:
        assert np.allclose(outputs["y"], inputs["x"] @ np.arange(6, dtype=np.float32).reshape(3, 2), atol=1e-5)


class Bomb:
    """Whoever unpickles it finds out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_a_checkpoint_is_refused_without_being_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "went off"))
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.ones(1), "bomb": Bomb()}, path)
    with pytest.raises(ExportError, match=r"is a pickled checkpoint and not TorchScript; .*safetensors"):
        adopt(spec_of(Given(file=path)), tmp_path / "out")
    assert not (tmp_path / "went off").exists()


def test_torchscript_that_is_cut_off_or_none(tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.ones(2, 3)), whole)
    path = tmp_path / "net.pt"
    path.write_bytes(whole.getvalue()[:-100])
    with pytest.raises(ExportError, match="is cut off; copy it again"):
        adopt(spec_of(Given(file=path)), tmp_path / "out")
    path.write_text("no archive")
    with pytest.raises(ExportError, match=r"is no TorchScript archive; write it with torch\.jit\.save"):
        adopt(spec_of(Given(file=path)), tmp_path / "out")


@pytest.mark.parametrize(("name", "file_format"), [("net.pt", Format.TORCHSCRIPT), ("net.onnx", Format.ONNX)])
def test_a_file_larger_than_the_memory_is_not_even_tried(tmp_path: Path, name: str, file_format: Format) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(2**27)  # holds nothing on the disk
    with pytest.raises(ExportError, match=r"is larger than the memory to export it in: .* has 0.12 GiB of 0.10"):
        tried(spec_of(Given(file=path)), tmp_path, file_format, gib=0.1)


def test_a_large_onnx_file_is_read_in_the_child_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"whoever reads this says that it is no ONNX model")
    monkeypatch.setattr("export.isolated.LARGEST_BYTES", 9)
    monkeypatch.setattr("export.signature.LARGEST_BYTES", 9)
    assert found(spec_of(Given(file=path)), Format.ONNX, Precision.FP32, "given", tmp_path / "cache", 4) is None
    with pytest.raises(ExportError, match=r"only read from files of up to .*; give 'inputs' and 'outputs'"):
        read_signature(path)


def test_time_and_memory_of_an_entry_are_its_own(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def inner(path: Path) -> dict[str, Any]:
        hoard = np.ones(2**25)  # 256 MiB
        path.write_bytes(bytes(hoard[:1]))
        return {}

    def outer(path: Path) -> dict[str, Any]:
        cache.get(Request("inner", "", {}, ""), inner)
        path.write_bytes(b"")
        return {}

    made = cache.get(Request("outer", "", {}, ""), outer)
    first = cache.get(Request("inner", "", {}, ""), inner)
    assert first.peak_rss_bytes - made.peak_rss_bytes > 2**27
    assert made.made_ns < first.made_ns
