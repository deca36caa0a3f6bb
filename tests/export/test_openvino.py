"""OpenVINO's IR from our ONNX: right answers, nothing of this machine inside, and no word to its makers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.formats.base import exporter
from nightbench.errors import ExportError
from nightbench.model import Format, Precision
from tests.export.onnx_work import Bench

KIND = exporter(Format.OPENVINO)
LOW = {Precision.FP32: 1e-5, Precision.FP16: 0.005, Precision.INT8: 0.15}
"""How far tiny_cnn may stand from PyTorch in fp32: twice what was measured, or more."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.of_zoo(tmp_path_factory.mktemp("openvino"), "tiny_cnn")


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("count", [1, 5])
def test_every_precision_answers_in_fp32_at_any_batch_size(bench: Bench, precision: Precision, count: int) -> None:
    assert bench.nrmse(Format.OPENVINO, precision, count) < LOW[precision]


def test_every_precision_it_can_be_asked_for_is_written() -> None:
    assert set(Format.OPENVINO.precisions) == set(LOW)


def test_weights_are_kept_in_the_precision(bench: Bench) -> None:
    sizes = {each: (bench.path(Format.OPENVINO, each) / "model.bin").stat().st_size for each in LOW}
    assert sizes[Precision.FP16] < 0.6 * sizes[Precision.FP32]
    assert sizes[Precision.INT8] < 0.4 * sizes[Precision.FP32]


@pytest.mark.parametrize("precision", LOW)
def test_it_is_two_files_that_name_neither_machine_nor_release(bench: Bench, precision: Precision) -> None:
    path = bench.path(Format.OPENVINO, precision)
    assert sorted(each.name for each in path.iterdir()) == ["model.bin", "model.xml"]
    text = (path / "model.xml").read_text()
    facts = bench.facts[Format.OPENVINO, precision]
    assert facts["openvino"] not in text
    assert str(bench.folder) not in text
    assert facts["source"] == ("onnx int8" if precision is Precision.INT8 else "onnx fp32")


def test_other_processes_write_the_same_bytes_and_load_no_telemetry(bench: Bench, tmp_path: Path) -> None:
    source = bench.path(Format.ONNX)
    code = (
        "import sys; from pathlib import Path; from export import zoo; from nightbench.model import *;"
        "from export.formats.base import Work, exporter; source, out = map(Path, sys.argv[1:]);"
        "work = Work(zoo.models()['tiny_cnn'], 'random', Precision.FP16, None, None, lambda *_: source, {});"
        "exporter(Format.OPENVINO).export(work, out); assert not sys.modules['openvino_telemetry']"
    )
    written = []
    for seed in ("1", "2"):
        path = tmp_path / seed
        command = [sys.executable, "-c", code, str(source), str(path)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        written.append([(path / name).read_bytes() for name in ("model.xml", "model.bin")])
    assert written[0] == written[1]


def test_a_folder_without_its_graph_is_one_sentence(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"has no model\.xml; export it again"):
        KIND.open(tmp_path, bench.spec, {})
