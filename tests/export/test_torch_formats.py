"""TorchScript and torch.export: what they do with models that are not plain, and in lower precisions."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.formats import torch_export, torchscript
from export.formats.base import Exporter, Work
from nightbench.errors import ExportError
from nightbench.model import DType, ModelSpec, Precision, TensorSpec, Tolerance

SPEC = ModelSpec(
    name="chooser",
    family="test",
    version=1,
    inputs=(TensorSpec("x", DType.FP32, (4,)),),
    outputs=(TensorSpec("y", DType.FP32, (4,)),),
    tolerance=Tolerance(1e-4),
)
HALF = {Precision.FP16: 2e-3, Precision.BF16: 2e-2}


class Chooser(torch.nn.Module):
    """Chooses what to do by the sum of its first input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(1, 2, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x[0].sum() > 0):
            return x * self.weight
        return x - 10 * self.weight


class Rows(torch.nn.Module):
    """Unrolled over its batch, which a trace takes for a constant; and of no type that TorchScript could compile."""

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torch.stack([row * 2 for row in tensors[0]]),)


class Plain(torch.nn.Module):
    weight: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.linspace(1, 2, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * self.weight,)


def work(module: Callable[[], torch.nn.Module], precision: Precision = Precision.FP32) -> Work:
    def refuse(*_: object) -> Any:
        raise AssertionError

    return Work(SPEC, "random", precision, lambda: module().eval(), refuse, refuse, {})


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("precision", [Precision.FP32, *HALF])
def test_a_model_that_chooses_by_its_data_is_compiled_from_source(tmp_path: Path, precision: Precision) -> None:
    path = tmp_path / "chooser.pt"
    facts = torchscript.EXPORTER.export(work(Chooser, precision), path)
    assert facts["exporter"] == "script+freeze"
    run = torchscript.EXPORTER.open(path, SPEC, {})
    for sign in (1, -1):
        for batch in (1, 3):
            x = sign * np.ones((batch, 4), "f4")
            got: NDArray[Any] = run({"x": x})["y"]
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, Chooser()(torch.from_numpy(x)).detach(), rtol=HALF.get(precision, 1e-6))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_what_neither_can_follow_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="model chooser is not to be had as torchscript: tracing cannot ") as caught:
        torchscript.EXPORTER.export(work(Rows), tmp_path / "rows.pt")
    assert "its source does not compile" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("exporter", [torchscript.EXPORTER, torch_export.EXPORTER], ids=["torchscript", "torch-export"])
@pytest.mark.parametrize("precision", HALF)
def test_half_the_bits_run_on_the_cpu_behind_the_same_types(
    tmp_path: Path, exporter: Exporter, precision: Precision
) -> None:
    path = tmp_path / f"plain{exporter.suffix}"
    exporter.export(work(Plain, precision), path)
    run = exporter.open(path, SPEC, {})
    for batch in (1, 3, 8):
        x = np.random.default_rng(batch).standard_normal((batch, 4), np.float32)
        got: NDArray[Any] = run({"x": x})["y"]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, x * np.linspace(1, 2, 4), rtol=HALF[precision])


def test_an_archive_holds_no_pickle_and_is_opened_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plain.pt2"
    torch_export.EXPORTER.export(work(Plain), path)
    with ZipFile(path) as archive:
        contents = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert contents["data/sample_inputs/model.pt"] == b""
    for kind in ("weights", "constants"):
        config = json.loads(contents[f"data/{kind}/model_{kind}_config.json"])["config"]
        assert not any(payload["use_pickle"] for payload in config.values())
    assert b"stack_trace" not in contents["models/model.json"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    for place, name in ((pickle, "loads"), (pickle, "load"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(place, name, refuse)
    monkeypatch.setattr(torch._C, "_pickle_load_obj", refuse)
    run = torch_export.EXPORTER.open(path, SPEC, {})
    assert run({"x": np.ones((3, 4), "f4")})["y"].shape == (3, 4)


def test_a_model_that_would_be_pickled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'weight' is no plain tensor and would be pickled"):
        torch_export._check_plain({"config": {"weight": {"use_pickle": True}}}, "chooser")


def test_choosing_by_data_is_more_than_torch_export_follows(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)data-dependent"):
        torch_export.EXPORTER.export(work(Chooser), tmp_path / "chooser.pt2")
