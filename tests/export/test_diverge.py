"""The layer that goes wrong is named, whatever layer it is; and looking for it costs nothing but time."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export import zoo
from export.cache import Cache, NotCached
from export.diverge import diverges_at
from export.draw import Arrays
from export.formats.base import Exporter, Runner, Work
from export.onnx_graph import write
from export.parity import checked
from export.pool import make_pool
from nightbench.model import Artifact, DType, Format, ModelSpec, Precision, TensorSpec, Tolerance
from nightbench.parity import OutputParity

FAULTY = Artifact("branches", Format.ONNX, Precision.FP32, "random", Path("unused"), "sha", 1)
LAYERS = ("stem", "left", "right.0", "right.1", "right.2", "join", "head")

SPEC = ModelSpec(
    "branches",
    "toy",
    1,
    inputs=(TensorSpec("x", DType.FP32, (8,)),),
    outputs=(TensorSpec("y", DType.FP32, (4,)),),
    tolerance=Tolerance(1e-4, 1e-3),
)


class Branches(torch.nn.Module):
    """Two branches of one stem: in the order of its graph, what follows a fault in one may be right again."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Linear(8, 8)
        self.left = torch.nn.Linear(8, 8)
        self.right = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8))
        self.join = torch.nn.Linear(16, 8)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        stem = self.stem(x)
        left = self.left(stem)
        return (self.head(self.join(torch.cat([left, self.right(stem)], 1))),)


class Stub:
    """A format that keeps the module itself, and whose runtime computes one layer wrongly."""

    def __init__(self, wrong: Mapping[str, float]) -> None:
        self.wrong = wrong
        self.kept: dict[Path, Any] = {}
        self.exporter = Exporter("", 1, (), (), reproducible=True, export=self.export, open=self.open)

    def export(self, work: Work, path: Path) -> dict[str, str]:
        self.kept[path] = work.module()
        path.touch()
        return {}

    def open(self, path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
        stub, module = self, self.kept[path]

        class Wrong(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> Any:
                answer = super().run_node(n)
                where = list((n.meta.get("nn_module_stack") or {"": ("",)}).values())[-1][0]
                return answer * stub.wrong.get(where, 1.0) if n.op == "call_function" else answer

        def run(inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
            with torch.inference_mode():
                (answer,) = Wrong(module).run(*(torch.from_numpy(inputs[each.name]) for each in spec.inputs))
            return {spec.outputs[0].name: answer.numpy()}

        return run


@pytest.fixture
def blame(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """What is blamed where these layers come out so many times as large."""
    monkeypatch.setattr("export.zoo.build", lambda spec, weights: Branches().eval())
    x = np.random.default_rng(0).standard_normal((6, 8), dtype=np.float32)

    def blamed(wrong: Mapping[str, float], spec: ModelSpec = SPEC, seconds: float = 60.0) -> str | None:
        stub = Stub(wrong)
        monkeypatch.setattr("export.diverge.exporter", lambda _: stub.exporter)
        return diverges_at(spec, FAULTY, 0, {"x": x}, {}, time.monotonic() + seconds)

    return blamed


@pytest.mark.parametrize("layer", LAYERS)
def test_the_one_layer_that_is_wrong_is_named(blame: Callable[..., str | None], layer: str) -> None:
    operator = "aten.tanh" if layer == "right.1" else "aten.linear"
    assert blame({layer: 1.05}) == f"{layer} ({operator})"


@pytest.mark.parametrize("first", ["left", "right.2"])
def test_of_two_in_a_row_the_first_is_named(blame: Callable[..., str | None], first: str) -> None:
    assert blame({first: 1.05, "head": 1.05}) == f"{first} (aten.linear)"


def test_of_two_side_by_side_one_is_named(blame: Callable[..., str | None]) -> None:
    assert blame({"left": 1.05, "right.0": 1.05}) in {"left (aten.linear)", "right.0 (aten.linear)"}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_layer_that_overflows_is_named(blame: Callable[..., str | None], bad: float) -> None:
    assert blame({"right.0": bad}) == "right.0 (aten.linear)"


def test_what_is_within_the_bound_is_not_blamed(blame: Callable[..., str | None]) -> None:
    assert blame({"left": 1.05}, replace(SPEC, tolerance=Tolerance(None, max_nrmse=0.5))) is None
    assert blame({}) is None


def test_where_time_runs_out_it_is_between_two_layers(blame: Callable[..., str | None]) -> None:
    assert blame({"left": 1.05}, seconds=0) == "between the inputs and head (aten.linear)"


def test_parts_that_cannot_be_exported_are_passed_over(
    blame: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    export = Stub.export

    def picky(self: Stub, work: Work, path: Path) -> dict[str, str]:
        if work.spec.outputs[0].shape == (16,):  # the two branches put together
            raise RuntimeError("no operator for this")
        return export(self, work, path)

    monkeypatch.setattr(Stub, "export", picky)
    for layer in LAYERS:
        assert (blame({layer: 1.05}) or "").startswith(f"{layer} ")


def test_nothing_that_goes_wrong_is_raised(
    blame: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr(Stub, "export", refuse)
    assert blame({"left": 1.05}) is None
    monkeypatch.setattr("export.zoo.build", refuse)
    assert blame({"left": 1.05}) is None
    assert "no diverging layer of branches in onnx: MemoryError: too large" in capsys.readouterr().out


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Cache], tuple[OutputParity, ...]]:
    """The parity of an export in which height and width are mixed up where there are 16 channels."""

    def transposing(module: torch.nn.Module, spec: ModelSpec, path: Path) -> dict[str, str]:
        facts = write(module, spec, path)
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tuple(tensor.dims) == (32, 16, 3, 3):
                weights = onnx.numpy_helper.to_array(tensor).swapaxes(2, 3)
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(weights), tensor.name))
        onnx.save(model, path)
        return facts

    monkeypatch.setattr("export.formats.onnx.write", transposing)
    tiny, path = zoo.models()["tiny_cnn"], tmp_path / "faulty.onnx"
    transposing(zoo.build(tiny, "random"), tiny, path)
    pool = make_pool(tiny, "random", 6, Cache(tmp_path))
    return lambda cache: checked(tiny, replace(FAULTY, path=path), pool, (1, 4), cache, {})


def test_a_fault_of_the_exporter_is_traced_to_its_layer(
    faulty: Callable[[Cache], tuple[OutputParity, ...]], tmp_path: Path
) -> None:
    results = faulty(Cache(tmp_path))
    assert {result.diverges_at for result in results} == {"features.3 (aten.conv2d)"}
    assert not any(result.passed for result in results)
    assert faulty(Cache(tmp_path, may_make=False)) == results


def test_a_search_that_is_killed_costs_the_layer_and_not_the_verdict(
    faulty: Callable[[Cache], tuple[OutputParity, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: Any) -> None:
        (args[-1] / "nightbench-diverge-left").mkdir()
        raise SystemExit("no memory left")

    monkeypatch.setattr("export.parity.diverges_at", killed)
    with pytest.raises(SystemExit):
        faulty(Cache(tmp_path))
    assert list(tmp_path.rglob("nightbench-diverge-*"))
    results = faulty(Cache(tmp_path, may_make=False))
    assert not any(result.passed for result in results)
    assert {result.diverges_at for result in results} == {None}
    assert not list(tmp_path.rglob("nightbench-diverge-*"))


def test_another_kind_of_cpu_is_asked_anew(
    faulty: Callable[[Cache], tuple[OutputParity, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.parity.diverges_at", lambda *_: None)
    faulty(Cache(tmp_path))
    monkeypatch.setattr("export.parity.cpu_model", lambda: "another")
    with pytest.raises(NotCached):
        faulty(Cache(tmp_path, may_make=False))
