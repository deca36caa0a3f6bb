"""A model of the user's own in a suite: what may be said of it, and what the plan then knows. None of it is run."""

from errno import EACCES
from pathlib import Path

import pytest

from nightbench import custom_entries
from nightbench.catalog import Catalog, resolve
from nightbench.custom_entries import Signature
from nightbench.errors import ExportError, UsageError
from nightbench.model import Draw, DType, Format, ModelSpec, TensorSpec, Tolerance
from nightbench.plan import Plan
from nightbench.suite import parse_suite
from tests.nightbench.test_catalog import CATALOG, suite

TENSORS = "inputs: [{name: x, shape: [3]}], outputs: [{name: y, shape: [2]}]"
FACTORY = f"factory: 'net:make', {TENSORS}"
SEEN = (TensorSpec("a", DType.INT64, (4,), Draw.INTEGER, 2),), (TensorSpec("b", DType.FP32, (1,)),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text("raise SystemExit('nobody may run this here')\n")
    (tmp_path / "package/inner").mkdir(parents=True)
    (tmp_path / "package/inner/net.py").write_text("")
    for name in (".hidden", "package/__pycache__", "environment", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "environment/pyvenv.cfg").write_text("")
    (tmp_path / "data.py").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    for name in ("net.onnx", "net.pt", "net.safetensors"):
        (tmp_path / name).write_bytes(b"bytes")
    return tmp_path


def text(custom: str, name: str = "mine", more: str = "") -> str:
    return suite(models=f"[{{name: {name}, custom: {{{custom}}}{more}}}]")


def model_of(custom: str, folder: Path) -> ModelSpec:
    return CATALOG.with_external(parse_suite(text(custom), "s", folder)).models["mine"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (text(TENSORS), "either 'factory: MODULE:FUNCTION' or 'file: PATH'; give one of them"),
        (text(f"{FACTORY}, file: net.onnx"), "give one of them"),
        (text(f"factory: net.make, {TENSORS}"), "custom.factory: 'net.make' is wrong"),
        (text(f"factory: 'net:make; import os', {TENSORS}"), "custom.factory: "),
        (text(f"factory: 'nett:make', {TENSORS}"), "there is no module nett in "),
        (text(f"factory: 'net:make', path: absent, {TENSORS}"), "absent is no folder; give the one"),
        (text("factory: 'net:make'"), "add 'inputs' and 'outputs'"),
        (text("file: net.pt"), "only an ONNX file says itself what it takes and gives"),
        (text("file: absent.onnx"), "absent.onnx cannot be read: No such file or directory; give its path"),
        (text("file: net.safetensors"), "is neither an ONNX file (.onnx) nor TorchScript (.pt)"),
        (text("fiel: net.onnx"), "unknown key 'fiel'; did you mean 'file'?"),
        (text(FACTORY.replace("name: y", "nam: y")), "unknown key 'nam'; did you mean 'name'?"),
        (text(FACTORY.replace("[3]", "[0]")), "0 is wrong; it should be greater than 0"),
        (text(FACTORY.replace("name: x", "name: x, dtype: FP31")), "did you mean 'FP32'?"),
        (text(FACTORY.replace("name: x", "name: x, high: 5")), "only integers have an upper bound"),
        (text(FACTORY.replace("name: x", "name: x, dtype: INT64, draw: normal")), "normal numbers are no INT64"),
        (text(FACTORY.replace("name: x", "name: x, dtype: UINT8, high: 300")), "bytes end at 255"),
        (text(FACTORY.replace("[2]}", "[2]}, {name: y, shape: [1]}")), "have the same name; give each its own"),
        (text(FACTORY, more=", weights: random"), "a custom model brings its weights along"),
        (text(FACTORY, name="mobilenet"), "models.0.name: 'mobilenet' is the name of another model"),
        (
            suite(models=f"[{{name: a, custom: {{{FACTORY}}}}}, {{name: a, custom: {{{FACTORY}, seed: 1}}}}]"),
            "models.1.name: 'a' is the name of another model",
        ),
        (suite(models=f"[{{name: a, custom: {{{FACTORY}}}}}, {{name: a, weights: x}}]"), "leave them out"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(folder: Path, said: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(parse_suite(said, "x.yaml", folder), CATALOG, "x.yaml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")
    assert "\n" not in str(caught.value)


def planned(custom: str, folder: Path) -> Plan:
    return resolve(parse_suite(text(custom), "s", folder), CATALOG, "s")


def test_it_is_planned_like_any_other_without_running_it(folder: Path) -> None:
    (export,) = planned(FACTORY, folder).exports
    assert export.model == "mine"
    model = model_of(f"{FACTORY}, tolerance: {{max_abs: 0.5}}, classifier: true, seed: 3, version: 2", folder)
    assert (model.tolerance, model.classifier, model.seed, model.version) == (Tolerance(0.5), True, 3, 2)
    assert model.custom is not None
    assert (model.custom.factory, model.custom.folder) == ("net:make", folder)
    assert Format.ONNX in model.formats


@pytest.mark.parametrize(
    ("custom", "other", "same"),
    [
        (FACTORY, "net.py", False),
        (FACTORY, "helper_beside.py", False),
        (FACTORY, "package/inner/net.py", False),
        (FACTORY, "notes.txt", True),
        (FACTORY, ".hidden/net.py", True),
        (FACTORY, "package/__pycache__/net.py", True),
        (FACTORY, "environment/net.py", True),
        (FACTORY, "loop/loop/net.py", False),
        (FACTORY.replace("net:", "package.inner.net:"), "package/inner/helper.py", False),
        (FACTORY.replace("net:", "package.inner.net:"), "net.py", False),
        (FACTORY.replace("net:", "data:"), "data.py", False),
        (FACTORY.replace("net:", "data:"), "data/weights.bin", True),
        (f"file: net.onnx, {TENSORS}", "net.onnx", False),
        (f"file: net.onnx, {TENSORS}", "net.pt", True),
    ],
)
def test_it_is_known_by_its_bytes(folder: Path, custom: str, other: str, same: bool) -> None:
    before, cells = model_of(custom, folder), planned(custom, folder).cells
    (folder / other).write_text("changed")
    assert (model_of(custom, folder) == before) is same
    assert (planned(custom, folder).cells == cells) is same


def test_a_home_folder_is_not_searched_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom_entries, "_MOST", 5)
    with pytest.raises(UsageError, match="has more than 5 Python files and folders; give a 'path' with less in it"):
        planned(FACTORY, folder)


def test_a_source_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(EACCES, "Permission denied", str(path))

    monkeypatch.setattr(custom_entries, "_digest", refuse)
    with pytest.raises(
        UsageError, match=r"s: sweeps\.0\.models\.0\.custom: .*data\.py cannot be read: Permission denied; "
    ):
        planned(FACTORY, folder)


def test_a_given_onnx_file_is_not_planned_in_what_is_made_from_pytorch_alone(folder: Path) -> None:
    given = suite(models=f"[{{name: mine, custom: {{file: net.onnx, {TENSORS}}}}}]", extra="    precision: fp16")
    with pytest.raises(UsageError, match="mine is an ONNX file, and onnx in fp16 is exported from PyTorch; leave"):
        resolve(parse_suite(given, "s", folder), CATALOG, "s")


def test_an_onnx_file_says_itself_what_is_not_said(folder: Path) -> None:
    def read(path: Path) -> Signature:
        assert path == folder / "net.onnx"
        return SEEN

    def refuse(path: Path) -> Signature:
        raise ExportError("cut off")

    parsed = parse_suite(text("file: net.onnx"), "s", folder)
    catalog = Catalog(CATALOG.models, CATALOG.servers, read)
    model = catalog.with_external(parsed).models["mine"]
    assert (model.inputs, model.outputs) == SEEN
    assert resolve(parsed, catalog, "s").cells
    # One that cannot be read is planned all the same: exporting it will say why.
    unread = Catalog(CATALOG.models, CATALOG.servers, refuse)
    assert unread.with_external(parsed).models["mine"].inputs == ()
    assert resolve(parsed, unread, "s").cells


@pytest.mark.parametrize(
    ("entry", "draw", "high"),
    [
        ("dtype: FP32", Draw.NORMAL, 1),
        ("dtype: FP16", Draw.NORMAL, 1),
        ("dtype: INT64", Draw.INTEGER, 2),
        ("dtype: UINT8", Draw.INTEGER, 256),
        ("dtype: INT32, high: 9", Draw.INTEGER, 9),
        ("dtype: FP32, draw: integer, high: 9", Draw.INTEGER, 9),
        ("dtype: INT64, draw: ones", Draw.ONES, 1),
    ],
)
def test_inputs_are_drawn_by_their_type(folder: Path, entry: str, draw: Draw, high: int) -> None:
    (tensor,) = model_of(FACTORY.replace("name: x", f"name: x, {entry}"), folder).inputs
    assert (tensor.draw, tensor.high) == (draw, high)
