"""Models that a user exported: the file becomes the artifact of its own format as it is, and is its own reference."""

import shutil
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from export.failure import one_line
from export.signature import Declared, declared, external_data, external_tensors, load, read_signature
from nightbench.custom_entries import source_sha256
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision, TensorSpec

__all__ = ["adopt", "file_facts", "given_as"]

_LARGEST_ONNX_BYTES = 2**31 - 1
"""What one protobuf message can hold."""


def given_as(spec: ModelSpec) -> tuple[Format, Precision] | None:
    """The format that the user's file is in, and what that counts as; ``None`` for models that are no files."""
    if spec.custom is None or spec.custom.file is None:
        return None
    return spec.formats[0], Precision.FP32


def file_facts(spec: ModelSpec) -> Mapping[str, str]:
    """What else than the file itself its artifacts are made from: ONNX may keep weights in files beside it.

    Raises `ExportError` as `adopt` does.
    """
    path = _path(spec)
    if path is None or path.suffix != ".onnx":
        return {}
    try:
        lines = [f"{_digest(each)}  {each.name}\n" for each in external_data(load(path), path)]
    except OSError as error:
        raise ExportError(f"{path} has weights in {error.filename}, which cannot be read: {error.strerror}") from error
    return {"data": sha256("".join(lines).encode()).hexdigest()} if lines else {}


def adopt(spec: ModelSpec, target: Path) -> Mapping[str, str]:
    """Copy the file to ``target``, and its external data into it.

    Raises `ExportError` if it changed since the run was planned, or is not what its name and ``spec`` say.
    """
    path = _path(spec)
    assert path is not None  # noqa: S101 - `given_as` was asked
    assert spec.custom is not None  # noqa: S101 - only specs of files get here
    if source_sha256(spec.custom) != spec.custom.sha256:
        raise ExportError(f"{path} has changed since this run was planned; start a new one")
    if path.suffix == ".onnx":
        return _adopt_onnx(spec, path, target)
    _check_torchscript(path)
    shutil.copyfile(path, target)
    return {"exporter": "as given"}


def _adopt_onnx(spec: ModelSpec, path: Path, target: Path) -> Mapping[str, str]:
    from onnx.external_data_helper import load_external_data_for_tensor

    model = load(path)
    files = external_data(model, path)
    inputs, outputs = declared(model, path)
    if not spec.inputs:
        read_signature(path)  # says why there are none
        raise ExportError(f"{path} could not be read when this run was planned, and can now; start a new one")
    _compare(path, "inputs", spec.inputs, inputs)
    _compare(path, "outputs", spec.outputs, outputs)
    if {each.name for each in inputs} - {each.name for each in spec.inputs}:
        names = ", ".join(each.name for each in inputs)
        raise ExportError(f"{path} takes {names}; give all of them under 'inputs'")
    if not files:
        shutil.copyfile(path, target)
        return {"exporter": "as given"}
    size = sum(each.stat().st_size for each in (path, *files))
    if size > _LARGEST_ONNX_BYTES:
        raise ExportError(f"{path} and its weights are {size / 2**30:.1f} GiB, and one ONNX file holds less than 2 GiB")
    try:
        for tensor in external_tensors(model):
            load_external_data_for_tensor(tensor, str(path.parent))
    except Exception as error:
        raise ExportError(f"{path}: its external data cannot be read: {one_line(error)}; copy it again") from error
    target.write_bytes(model.SerializeToString(deterministic=True))
    return {"exporter": "as given, external data embedded"}


def _compare(path: Path, kind: str, tensors: tuple[TensorSpec, ...], there: tuple[Declared, ...]) -> None:
    found = {each.name: each for each in there}
    for tensor in tensors:
        if tensor.name not in found:
            names = ", ".join(found)
            raise ExportError(f"{path} has no {tensor.name!r} among its {kind} ({names}); correct the name")
        if not found[tensor.name].admits(tensor):
            have = found[tensor.name]
            dims = "any" if have.dims is None else [size or "any" for size in have.dims]
            raise ExportError(
                f"{path}: {tensor.name!r} is {have.dtype} {dims}, not {tensor.dtype} {list(tensor.shape)}; "
                f"correct its entry under {kind!r}"
            )


def _check_torchscript(path: Path) -> None:
    """Only names are read: whatever a checkpoint would run when unpickled is not run."""
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except BadZipFile:
        with path.open("rb") as file:
            begun = file.read(4) == b"PK\x03\x04"
        what = "cut off" if begun else "no TorchScript archive"
        remedy = "copy it again" if begun else "write it with torch.jit.save"
        raise ExportError(f"{path} is {what}; {remedy}") from None
    if not any(name.endswith("/constants.pkl") for name in names):
        raise ExportError(
            f"{path} is a pickled checkpoint and not TorchScript; pickles can run anything, so it is not loaded: "
            "write it with torch.jit.save, or give a 'factory' that loads its weights from safetensors"
        )


def _path(spec: ModelSpec) -> Path | None:
    return None if spec.custom is None else spec.custom.file


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
