"""Several models in a row: a file each, run by name one after the other, or by the zoo module's own hands."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export import zoo
from export.draw import Arrays
from export.formats.base import Runner, exporter
from nightbench.errors import ExportError
from nightbench.model import DType, Format, ModelSpec, Precision, Stage, TensorSpec, Tolerance
from tests.export.onnx_work import Bench

KIND = exporter(Format.STAGES)
X, H, Y = (TensorSpec(name, DType.FP32, (4,)) for name in ("x", "h", "y"))
SPEC = ModelSpec(
    name="row",
    family="row",
    version=1,
    inputs=(X,),
    outputs=(Y,),
    tolerance=Tolerance(1e-5),
    # The second takes the model's own input too, beside what the first gives.
    stages=(Stage("first", (X,), (H,)), Stage("second", (H, X), (Y,))),
)


class First(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(16.0).reshape(4, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x @ self.weight,)


class Second(torch.nn.Module):
    def forward(self, h: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (h - 2 * x,)


class Row(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = First(), Second()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        answer: tuple[torch.Tensor] = self.second(*self.first(x), x)
        return answer


def modules() -> Mapping[str, torch.nn.Module]:
    return {"first": First().eval(), "second": Second().eval()}


def ours(monkeypatch: pytest.MonkeyPatch, own: Callable[..., Arrays] | None) -> None:
    """As if the zoo had the model, with or without a ``run_stages``."""
    monkeypatch.setattr(zoo, "run_stages", lambda spec: own)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("stages"), SPEC, lambda: Row().eval(), modules)
    with pytest.MonkeyPatch.context() as patch:
        ours(patch, None)
        bench.path(Format.STAGES)
    return bench


@pytest.mark.parametrize("count", [1, 5])
def test_stages_run_in_a_row(bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    ours(monkeypatch, None)
    assert bench.nrmse(Format.STAGES, Precision.FP32, count) < 1e-6


def test_the_folder_says_what_is_in_it(bench: Bench) -> None:
    path = bench.path(Format.STAGES)
    assert sorted(each.name for each in path.iterdir()) == ["first.onnx", "second.onnx", "stages.json"]
    told = json.loads((path / "stages.json").read_text())
    assert told["linear"] is True
    assert [(stage["name"], stage["file"]) for stage in told["stages"]] == [
        ("first", "first.onnx"),
        ("second", "second.onnx"),
    ]
    assert [[tensor["name"] for tensor in stage["inputs"]] for stage in told["stages"]] == [["x"], ["h", "x"]]
    facts = bench.facts[Format.STAGES, Precision.FP32]
    assert (facts["first.exporter"], facts["second.opset"]) == ("torch.export", "18")


def test_what_is_not_in_a_row_is_run_by_the_models_own_hands(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def own(runners: Mapping[str, Runner], inputs: Mapping[str, Any]) -> Arrays:
        """As a detector's finds are: the second is asked about each item by itself."""
        (found,) = runners["first"](inputs).values()
        parts = [runners["second"]({"h": found[[i]], "x": inputs["x"][[i]]})["y"] for i in range(len(found))]
        return {"y": np.concatenate(parts)}

    ours(monkeypatch, own)
    assert bench.nrmse(Format.STAGES, Precision.FP32, 3) < 1e-6


def test_a_row_with_a_gap_is_refused_unless_the_model_runs_it_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = TensorSpec("crop", DType.FP32, (4,))
    gap = replace(SPEC, stages=(SPEC.stages[0], Stage("second", (crop, X), (Y,))))
    ours(monkeypatch, None)
    with pytest.raises(ExportError, match="stage second needs tensor 'crop', which no stage before gives"):
        Bench(tmp_path, gap, lambda: Row().eval(), modules).path(Format.STAGES)
    with pytest.raises(ExportError, match="its answer needs tensor 'y'"):
        Bench(tmp_path, replace(SPEC, stages=SPEC.stages[:1]), lambda: Row().eval(), modules).path(Format.STAGES)
    ours(monkeypatch, lambda runners, inputs: {})
    path = Bench(tmp_path, gap, lambda: Row().eval(), modules).path(Format.STAGES)
    assert json.loads((path / "stages.json").read_text())["linear"] is False


def test_a_foreign_folder_is_one_sentence(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours(monkeypatch, None)
    with pytest.raises(ExportError, match=r"has no stages.json that can be read; export it again"):
        KIND.open(tmp_path, SPEC, {})
    other = replace(SPEC, stages=SPEC.stages[::-1])
    with pytest.raises(ExportError, match=r"holds the stages \['first', 'second'\], not those of row; export it again"):
        KIND.open(bench.path(Format.STAGES), other, {})
