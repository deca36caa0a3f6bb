"""Models of a user's own: what is wrong with one is a sentence, and what is right is measured without our code."""

import io
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from errno import EACCES
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from export import custom
from export.artifact import export_model
from export.cache import Cache, Request
from export.custom_file import adopt, file_facts
from export.isolated import Prepared, found, prepare
from export.pool import load_pool
from export.signature import external_data, load, read_signature
from nightbench.catalog import Catalog
from nightbench.custom_entries import source_sha256
from nightbench.errors import ExportError
from nightbench.model import Custom as Given
from nightbench.model import DType, Format, ModelSpec, Precision, TensorSpec, Tolerance
from nightbench.suite import parse_suite

NET = """
import os, time
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x)

def make():
    return Net()
"""
COUNTED = (
    NET.replace("return Net()", "net = Net(); net.linear.bias.data += next(COUNT)")
    + """
    return net

import itertools
COUNT = itertools.count()
"""
)
SHAPES = {"inputs": (TensorSpec("x", DType.FP32, (3,)),), "outputs": (TensorSpec("y", DType.FP32, (2,)),)}


def spec_of(given: Given, name: str = "mine") -> ModelSpec:
    given = replace(given, sha256=source_sha256(given))
    return ModelSpec(name, "custom", 1, **SHAPES, tolerance=Tolerance(1e-4), default_weights="given", custom=given)


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A folder for a user's modules, forgotten afterwards."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


def factory(package: Path, code: str, function: str = "make") -> ModelSpec:
    (package / "users_net.py").write_text(code)
    return spec_of(Given(f"users_net:{function}", folder=package))


def sentence(spec: ModelSpec) -> str:
    with pytest.raises(ExportError) as caught:
        custom.build(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def net(forward: str) -> str:
    return NET.replace("return self.linear(x)", forward)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nosuchpackage\n", "factory users_net:make cannot be imported: ModuleNotFoundError"),
        ("def make(:\n", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
        ("other = 1\n", "is not there: "),
        ("make = 1\n", "users_net.py has no function 'make'"),
        ("def make():\n    raise ValueError('no weights\\nhere')\n", "users_net:make raised ValueError: no weights"),
        ("def make(size):\n    pass\n", "raised TypeError: make() missing 1 required positional argument"),
        ("def make():\n    return {'weight': 1}\n", "returned a dict; let it return a torch.nn.Module"),
        (NET.replace("return Net()", "return Net().half()"), "returned weights in torch.float16"),
        (net("return {'y': self.linear(x)}"), "returns a dict; let it return a tensor, or tensors in a tuple"),
        (net("return [self.linear(x)]"), "returns a list"),
        (net("return self.linear(x), x"), "gives 2 outputs, not 1 (y)"),
        (net("return self.linear(x)[:, :1]"), "output 'y' is float32(2, 1) for 2 items, and shall be float32(2, 2)"),
        (net("return self.linear(x).double()"), "output 'y' is float64(2, 2)"),
        (net("return self.linear(x)[:2]"), "output 'y' is float32(2, 2) for 3 items"),
        (net("return self.linear(x)[self.linear(x)[:, 0] > 1e9]"), "a shape must not hang on values"),
        (net("return self.linear(x) / 0 * 0"), "output 'y' is not finite in the original itself"),
        (net("return self.linear(x[:, :2])"), "fails on 2 items of its inputs: RuntimeError"),
        (net("return self.linear(x).squeeze(0)"), "output 'y' is float32(2,) for 1 items"),
        (net("return self.linear(x) - self.linear(x).mean(0)"), "mixes the items of a batch: one alone is answered"),
        (net("return torch.nn.functional.dropout(self.linear(x), 0.5, True)"), "gives other answers to the same items"),
        (COUNTED, "factory users_net:make returned other weights when called again"),
    ],
)
def test_a_factory_that_does_not_give_what_was_said(package: Path, code: str, said: str) -> None:
    assert said in sentence(factory(package, code))


def test_a_factory_is_put_in_evaluation_mode_seeded_and_returns_a_tuple(package: Path) -> None:
    spec = factory(package, net("return torch.nn.functional.dropout(self.linear(x), 0.5, self.training)"))
    one, two = custom.build(spec), custom.build(spec)
    x = torch.ones(1, 3)
    assert not one.training
    assert torch.equal(one(x)[0], two(x)[0])
    assert not torch.equal(one(x)[0], custom.build(replace(spec, seed=7))(x)[0])


def test_a_module_that_hides_behind_another_is_found_out(package: Path) -> None:
    (package / "json.py").write_text(NET)
    assert "is hidden by" in sentence(spec_of(Given("json:make", folder=package)))


def test_a_source_that_changed_since_the_run_was_planned_is_not_exported_under_its_name(package: Path) -> None:
    spec = factory(package, NET)
    (package / "users_net.py").write_text(NET + "\n")
    assert "has changed since this run was planned" in sentence(spec)


def tried(spec: ModelSpec, folder: Path, file_format: Format, timeout_s: float = 300, gib: float = 8) -> Prepared:
    return prepare(
        spec,
        file_format,
        Precision.FP32,
        spec.default_weights,
        cache=folder / "cache",
        pool_count=4,
        batches=(1, 3),
        log=folder / "log",
        timeout_s=timeout_s,
        memory_bytes=int(gib * 2**30),
    )


def test_a_factory_is_exported_and_agrees_and_is_found_again(package: Path) -> None:
    spec = factory(package, "print('I like to print')\n" + NET)
    first = tried(spec, package, Format.TORCHSCRIPT)
    assert all(output.passed for output in first.parity)
    assert 100e6 < first.artifact.peak_rss_bytes < 8e9
    again = found(spec, Format.TORCHSCRIPT, Precision.FP32, "given", package / "cache", 4, (1, 3))
    assert again is not None
    assert again.cached
    assert again.artifact == first.artifact  # peak memory and time of the export included
    assert "users_net" not in sys.modules


@pytest.mark.parametrize(
    ("code", "timeout_s", "gib", "said"),
    [
        (NET + "time.sleep(600)\n", 5, 8, "took longer than 5 s and was ended"),
        (NET + "hoard = [bytearray(b'1') * 2**28 for _ in range(1000)]\n", 300, 2, "GiB of memory and was ended"),
        (NET + "os._exit(0)\n", 300, 8, "ended with exit code 0 and no answer"),
    ],
    ids=["hangs", "eats memory", "exits"],
)
def test_what_ends_the_process_is_a_sentence(package: Path, code: str, timeout_s: float, gib: float, said: str) -> None:
    with pytest.raises(ExportError) as caught:
        tried(factory(package, code), package, Format.ONNX, timeout_s, gib)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "users_net" not in sys.modules


def test_an_operator_that_a_format_does_not_have_is_a_sentence(package: Path) -> None:
    spec = factory(package, net("return torch.linalg.eigvalsh(x[..., None] * x[:, None])[:, :2]"))
    with pytest.raises(ExportError, match=r"mine.*onnx.*not supported") as caught:
        export_model(spec, Format.ONNX, Precision.FP32, "given", Cache(package / "cache"), {})
    assert "\n" not in str(caught.value)


# Files


def onnx_model(batch: int | str = "batch", size: int | str = 2, kind: int = TensorProto.FLOAT) -> "onnx.ModelProto":
    weight = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", kind, [batch, 3])],
        [helper.make_tensor_value_info("y", kind, [batch, size])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def written(folder: Path, model: "onnx.ModelProto") -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def split(folder: Path) -> Path:
    """With its weights in a file beside it."""
    path = folder / "net.onnx"
    onnx.save(onnx_model(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_an_onnx_file_says_itself_what_it_takes(tmp_path: Path) -> None:
    assert read_signature(written(tmp_path, onnx_model())) == (SHAPES["inputs"], SHAPES["outputs"])


def test_a_suite_plans_an_onnx_file_by_its_signature_and_an_unreadable_one_too(tmp_path: Path) -> None:
    text = """
    name: s
    sweeps:
      - models: [{name: mine, custom: {file: net.onnx}}]
        servers: [a]
        loads: [{closed: 1}]
    """
    path = written(tmp_path, onnx_model())
    catalog = Catalog({}, {}, read_signature)
    whole = catalog.with_external(parse_suite(text, "s", tmp_path)).models["mine"]
    assert (whole.inputs, whole.outputs) == (SHAPES["inputs"], SHAPES["outputs"])
    path.write_bytes(path.read_bytes()[:-9])
    cut = catalog.with_external(parse_suite(text, "s", tmp_path)).models["mine"]
    assert cut.inputs == ()
    with pytest.raises(ExportError, match="is no ONNX model, or cut off"):
        adopt(cut, tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (onnx_model(batch=1), "has a batch axis fixed at 1; export it with a first axis that is dynamic"),
        (onnx_model(size="classes"), "'y' has axes of any size; give 'inputs' and 'outputs' with the shapes"),
        (onnx_model(kind=TensorProto.DOUBLE), "'x' is of type DOUBLE; nightbench knows FP32"),
    ],
)
def test_what_an_onnx_file_does_not_say_is_asked_for(tmp_path: Path, model: Any, said: str) -> None:
    with pytest.raises(ExportError) as caught:
        read_signature(written(tmp_path, model))
    assert said in str(caught.value)


def test_shapes_that_the_file_leaves_open_are_those_of_the_suite(tmp_path: Path) -> None:
    spec = spec_of(Given(file=written(tmp_path, onnx_model(size="classes"))))
    assert adopt(spec, tmp_path / "out")["exporter"] == "as given"
    for wrong in (
        replace(spec, outputs=(TensorSpec("y", DType.FP32, (2, 2)),)),
        replace(spec, inputs=(TensorSpec("x", DType.INT64, (3,)),)),
    ):
        with pytest.raises(ExportError, match="correct its entry under"):
            adopt(wrong, tmp_path / "out")
    with pytest.raises(ExportError, match="has no 'z' among its inputs \\(x\\); correct the name"):
        adopt(replace(spec, inputs=(TensorSpec("z", DType.FP32, (3,)),)), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no model at all", b"PK\x03\x04", bytes(range(200, 256))])
def test_what_is_no_onnx_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match="is no ONNX model") as caught:
        read_signature(path)
    assert "\n" not in str(caught.value)


def test_external_data_comes_along_or_is_missed_by_name(tmp_path: Path) -> None:
    spec = spec_of(Given(file=split(tmp_path)))
    adopt(spec, tmp_path / "out.onnx")
    alone = shutil.copy(tmp_path / "out.onnx", tmp_path / "elsewhere.onnx")
    (weight,) = onnx.load(alone).graph.initializer
    assert np.array_equal(numpy_helper.to_array(weight), np.arange(6, dtype=np.float32).reshape(3, 2))
    before = file_facts(spec)
    (tmp_path / "net.data").write_bytes(bytes(24))
    assert file_facts(spec) != before
    (tmp_path / "net.data").unlink()
    with pytest.raises(ExportError, match=r"has weights in net\.data, which is not beside it; copy it there"):
        adopt(spec, tmp_path / "again.onnx")


def test_constants_and_inner_graphs_keep_external_data_too(tmp_path: Path) -> None:
    def beside(name: str) -> "onnx.TensorProto":
        values = np.arange(6, dtype=np.float32).reshape(3, 2)
        (tmp_path / name).write_bytes(values.tobytes())
        tensor = numpy_helper.from_array(values, "weight")
        set_external_data(tensor, name)
        tensor.ClearField("raw_data")
        return tensor

    model = onnx_model()
    model.graph.ClearField("initializer")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["weight"], value=beside("constant.data")))
    inner = helper.make_graph(
        [helper.make_node("Identity", ["weight"], ["z"])], "inner", [], [], [beside("inner.data")]
    )
    model.graph.node.append(helper.make_node("If", ["never"], [], then_branch=inner, else_branch=inner))
    spec = spec_of(Given(file=written(tmp_path, model)))
    before = file_facts(spec)
    assert adopt(spec, tmp_path / "out.onnx") == {"exporter": "as given, external data embedded"}
    assert external_data(load(tmp_path / "out.onnx"), tmp_path / "out.onnx") == ()
    constant = onnx.load(tmp_path / "out.onnx").graph.node[0].attribute[0].t
    assert np.array_equal(numpy_helper.to_array(constant), np.arange(6, dtype=np.float32).reshape(3, 2))
    for name in ("constant.data", "inner.data"):
        (tmp_path / name).write_bytes(bytes(24))
        assert file_facts(spec) != before
        before = file_facts(spec)


def test_external_data_that_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(EACCES, "Permission denied", str(path))

    spec = spec_of(Given(file=split(tmp_path)))
    monkeypatch.setattr("export.custom_file._digest", refuse)
    with pytest.raises(ExportError, match=r"has weights in .*net\.data, which cannot be read: Permission denied"):
        found(spec, Format.ONNX, Precision.FP32, "given", tmp_path / "cache", 4)


def test_external_data_is_not_taken_from_anywhere(tmp_path: Path) -> None:
    model = onnx.load(split(tmp_path), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../../etc/passwd"
    with pytest.raises(ExportError, match="has weights outside its folder"):
        file_facts(spec_of(Given(file=written(tmp_path, model))))


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
