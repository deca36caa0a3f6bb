"""Artifacts of earlier nights, found by their bytes."""

from dataclasses import replace
from pathlib import Path

from export.cache import Cache, Request
from export.kept import kept_artifact
from nightbench.model import Artifact, Format, Precision

LIKE = Artifact("m", Format.ONNX, Precision.FP32, "random", Path("tonight.onnx"), "f" * 64, 1)


def make(root: Path, text: str) -> tuple[Path, str]:
    def write(path: Path) -> dict[str, object]:
        path.write_text(text)
        return {"exporter": {"torch": text}, "inputs": [{"name": "x", "dtype": "FP32", "shape": [3]}], "outputs": []}

    entry = Cache(root).get(Request("m", ".onnx", {"made of": text}, "testing"), write)
    return entry.path, entry.sha256


def test_one_of_another_exporter_is_found_by_its_hash(tmp_path: Path) -> None:
    path, sha256 = make(tmp_path, "old")
    make(tmp_path, "new")
    found = kept_artifact(tmp_path, sha256, LIKE)
    assert found is not None
    assert (found.path, found.sha256, found.size_bytes) == (path, sha256, 3)
    assert found.exporter == {"torch": "old"}
    assert [tensor.name for tensor in found.inputs] == ["x"]
    same = replace(LIKE, path=path, sha256=sha256)
    assert (found.model, found.format, found.precision) == (same.model, same.format, same.precision)


def test_what_is_gone_or_broken_is_not_found(tmp_path: Path) -> None:
    path, sha256 = make(tmp_path, "old")
    assert kept_artifact(tmp_path, "0" * 64, LIKE) is None
    assert kept_artifact(tmp_path / "nowhere", sha256, LIKE) is None
    path.write_text("rotten")
    assert kept_artifact(tmp_path, sha256, LIKE) is None
