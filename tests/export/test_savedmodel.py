"""What can be known of SavedModels without TensorFlow: what the converter is told, and what becomes of its answers."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import zoo
from export.environments import ENVIRONMENTS
from export.formats import savedmodel
from export.formats.base import Work, exporter
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision

TOOLS = {"tensorflow": Path(sys.executable)}


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts in place of those that need TensorFlow; this interpreter runs them."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    monkeypatch.setattr(savedmodel, "_FOLDER", folder)
    return folder


def export(spec: ModelSpec, path: Path, tools: Mapping[str, Path] = TOOLS) -> dict[str, str]:
    def none() -> Any:
        raise AssertionError

    def source(file_format: Format, precision: Precision) -> Path:
        assert (file_format, precision) == (Format.ONNX, Precision.FP32)
        return path.with_name("model.onnx")

    return savedmodel.EXPORTER.export(Work(spec, "random", Precision.FP32, none, none, source, tools), path)


def test_every_environment_that_an_exporter_names_is_pinned() -> None:
    assert exporter(Format.SAVEDMODEL).environments == ("tensorflow",)
    for environment in ENVIRONMENTS.values():
        pins = [line.partition(";")[0].strip() for line in environment.requirements.read_text().splitlines()]
        assert all("==" in pin for pin in pins)
        assert environment.distribution in {pin.partition("==")[0] for pin in pins}
        assert environment.name.startswith("export-")  # no server's environment is called so


def test_the_converter_is_told_the_names_and_types_of_the_spec(scripts: Path, tmp_path: Path) -> None:
    (scripts / "convert.py").write_text(
        "import json, pathlib, sys\n"
        "order = json.load(sys.stdin)\n"
        "print('noise', file=sys.stderr)\n"
        "pathlib.Path(order['folder']).write_text(json.dumps(order))\n"
        "print(json.dumps({'tensorflow': '2.21.0', 'operators': 12}))\n"
    )
    facts = export(zoo.models()["bert_tiny"], tmp_path / "saved")
    assert (facts["tensorflow"], facts["operators"]) == ("2.21.0", "12")
    assert facts["environment"] == ENVIRONMENTS["tensorflow"].fingerprint
    order = json.loads((tmp_path / "saved").read_text())
    assert order["onnx"] == str(tmp_path / "model.onnx")
    assert order["inputs"] == [
        {"name": "input_ids", "dtype": "int64", "shape": [32]},
        {"name": "attention_mask", "dtype": "int64", "shape": [32]},
    ]
    assert order["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [2]}]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            'print(\'{"error": "ONNX operator Celu has no counterpart here"}\')',
            "tiny_cnn cannot be .*: ONNX operator Celu",
        ),
        ("import os; os._exit(3)", "the converter to SavedModel ended with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "the converter to SavedModel ended with code -9"),
        ("print('no JSON')", "the converter to SavedModel ended with code 0"),
    ],
)
def test_a_conversion_that_fails_is_one_sentence(scripts: Path, tmp_path: Path, script: str, sentence: str) -> None:
    (scripts / "convert.py").write_text(f"{script}\n")
    with pytest.raises(ExportError, match=sentence):
        export(zoo.models()["tiny_cnn"], tmp_path / "saved")


def test_without_its_environment_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="environment 'tensorflow'"):
        export(zoo.models()["tiny_cnn"], tmp_path / "saved", tools={})


ECHO = """
import io, sys
from multiprocessing.connection import Connection
import numpy as np
asked, answered = Connection(0, writable=False), Connection(1, readable=False)
def say(**arrays):
    into = io.BytesIO()
    np.savez(into, **arrays)
    answered.send_bytes(b"A" + into.getvalue())
say()
while True:
    try:
        message = asked.recv_bytes()
    except EOFError:
        sys.exit()
    arrays = dict(np.load(io.BytesIO(message[1:]), allow_pickle=False))
    if "bad" in arrays:
        answered.send_bytes(b"EInvalidArgumentError: no")
    elif "last" in arrays:
        sys.exit(5)
    else:
        say(**{name: array + 1 for name, array in arrays.items()})
"""


def opened(scripts: Path, script: str = ECHO) -> Any:
    (scripts / "run.py").write_text(script)
    return savedmodel.EXPORTER.open(scripts, zoo.models()["tiny_cnn"], TOOLS)


def test_arrays_go_there_and_back(scripts: Path) -> None:
    run = opened(scripts)
    sent = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "input.1": np.zeros((0, 4), np.float32)}
    got = run(sent)
    assert {name: (array.dtype, array.shape) for name, array in got.items()} == {
        name: (array.dtype, array.shape) for name, array in sent.items()
    }
    np.testing.assert_array_equal(got["a"], sent["a"] + 1)


def test_an_error_is_told_and_the_next_answer_is_right(scripts: Path) -> None:
    run = opened(scripts)
    with pytest.raises(RuntimeError, match=r"^InvalidArgumentError: no$"):
        run({"bad": np.zeros(1)})
    assert run({"a": np.zeros(1)})["a"] == 1


def test_a_process_that_ends_is_one_sentence(scripts: Path) -> None:
    run = opened(scripts)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended with code 5"):
            run({"last": np.zeros(1)})


def test_one_that_never_begins_is_one_sentence(scripts: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with code 4"):
        opened(scripts, "raise SystemExit(4)")


def test_the_process_ends_with_the_runner(scripts: Path) -> None:
    run = opened(scripts)
    process = run._process
    assert process.poll() is None
    del run
    assert process.returncode is not None
