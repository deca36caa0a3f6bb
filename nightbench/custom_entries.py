"""How a suite file writes a model of the user's own down. No code of theirs runs here: files are only read."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from nightbench.errors import ExportError
from nightbench.load_entries import Count, Strict
from nightbench.model import Custom, Draw, DType, ModelSpec, TensorSpec, Tolerance

__all__ = ["CustomEntry", "ReadSignature", "Signature", "source_sha256", "usual_draw"]

Signature = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]
"""Inputs and outputs."""
ReadSignature = Callable[[Path], Signature]
"""Reads them from an ONNX file; `ExportError` where that cannot be done."""

_TensorName = Annotated[str, Field(min_length=1)]
_Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_CHOICES = {DType.UINT8: 256}
"""Exclusive upper bounds of integers that are drawn without a word on it; 2 for all other types."""
_USUAL = Tolerance(max_abs=1e-3, max_rel=1e-3)
_MOST = 10_000
"""Python files and folders below a factory's folder: more is a home folder, not somebody's code."""
_NO_SOURCES = frozenset({"__pycache__", "site-packages", "node_modules"})
"""Folders of what was installed or compiled."""


class OutputEntry(Strict):
    name: _TensorName
    dtype: DType = DType.FP32
    shape: tuple[Count, ...]
    """Without the batch axis."""

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.dtype, self.shape)


class InputEntry(OutputEntry):
    draw: Draw | None = None
    """By default normal numbers for floating-point types, integers for the others."""
    high: Count | None = None
    """Exclusive upper bound of integers that are drawn."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        floating = self.dtype in {DType.FP32, DType.FP16}
        if self.draw is Draw.NORMAL and not floating:
            raise ValueError(f"normal numbers are no {self.dtype}; use 'draw: integer' or 'draw: ones'")
        if self.high is not None and self.spec.draw is not Draw.INTEGER:
            raise ValueError("only integers have an upper bound; remove 'high' or give 'draw: integer'")
        if self.dtype is DType.UINT8 and (self.high or 0) > _CHOICES[DType.UINT8]:
            raise ValueError("bytes end at 255; give a 'high' of at most 256")
        return self

    @property
    def spec(self) -> TensorSpec:
        return usual_draw(TensorSpec(self.name, self.dtype, self.shape), self.draw, self.high)


def usual_draw(tensor: TensorSpec, draw: Draw | None = None, high: int | None = None) -> TensorSpec:
    """``tensor`` with what is drawn for its type where nothing else is said."""
    floating = tensor.dtype in {DType.FP32, DType.FP16}
    draw = draw or (Draw.NORMAL if floating else Draw.INTEGER)
    usual = _CHOICES.get(tensor.dtype, 2) if draw is Draw.INTEGER else 1
    return replace(tensor, draw=draw, high=high or usual)


class ToleranceEntry(Strict):
    """How far fp32 exports may stand from the original."""

    max_abs: _Bound
    max_rel: _Bound = 0.0
    max_nrmse: _Bound | None = None


def _beside(value: object, info: ValidationInfo) -> object:
    """A path counts from the folder of the suite file."""
    return ((info.context or {}).get("folder", Path()) / value).absolute() if isinstance(value, str) else value


def _folder(value: object, info: ValidationInfo) -> object:
    path = _beside(value, info)
    if isinstance(path, Path) and not path.is_dir():
        raise ValueError(f"{path} is no folder; give the one that the factory's module is imported from")
    return path


def _file(value: object, info: ValidationInfo) -> object:
    path = _beside(value, info)
    if not isinstance(path, Path):
        return value
    if path.suffix not in {".onnx", ".pt"}:
        raise ValueError(
            f"{path.name} is neither an ONNX file (.onnx) nor TorchScript (.pt); "
            "export it to one of them, or give a 'factory' that builds the model and loads its weights"
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give its path, seen from the suite's") from error
    return path


class CustomEntry(Strict):
    """A `Custom` and what there is to know about it. Exactly one of ``factory`` and ``file``."""

    factory: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")] | None = None
    """``module:function``."""
    path: Annotated[Path, BeforeValidator(_folder), Field(validate_default=True)] = Path()
    """What ``module`` is imported from; by default the suite's folder."""
    file: Annotated[Path, BeforeValidator(_file)] | None = None
    inputs: tuple[InputEntry, ...] = ()
    """In the order that the model takes them. An ONNX file says itself what is left out here."""
    outputs: tuple[OutputEntry, ...] = ()
    tolerance: ToleranceEntry | None = None
    classifier: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    version: Count = 1
    """Raise it when something changes that files cannot show: weights that the factory loads, say."""

    @model_validator(mode="before")
    @classmethod
    def _default_folder(cls, value: object) -> object:
        # A default is no string, and so would not be taken for a path that counts from the suite's folder.
        return {"path": ".", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.factory is None) == (self.file is None):
            raise ValueError("a custom model has either 'factory: MODULE:FUNCTION' or 'file: PATH'; give one of them")
        if not self._tells_itself and not (self.inputs and self.outputs):
            raise ValueError("only an ONNX file says itself what it takes and gives; add 'inputs' and 'outputs'")
        for tensors in (self.inputs, self.outputs):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) < len(names):
                raise ValueError(f"two tensors of {names} have the same name; give each its own")
        if self.factory is not None:
            _sources(self.factory, self.path)
        return self

    @property
    def _tells_itself(self) -> bool:
        return self.file is not None and self.file.suffix == ".onnx"

    @cached_property
    def _custom(self) -> Custom:
        return replace(found := Custom(self.factory, self.file, self.path), sha256=source_sha256(found))

    def model(self, name: str, read: ReadSignature) -> ModelSpec:
        """The model it describes.

        One whose signature cannot be read has neither inputs nor outputs: exporting it says why, and costs the night
        only the cells that need it.
        """
        inputs, outputs = (tuple(each.spec for each in tensors) for tensors in (self.inputs, self.outputs))
        if self.file is not None and not (inputs and outputs):
            try:
                found = read(self.file)
                inputs, outputs = inputs or found[0], outputs or found[1]
            except ExportError:
                inputs, outputs = (), ()
        return ModelSpec(
            name=name,
            family="custom",
            version=self.version,
            inputs=inputs,
            outputs=outputs,
            tolerance=_USUAL if self.tolerance is None else Tolerance(**self.tolerance.model_dump()),
            seed=self.seed,
            classifier=self.classifier,
            default_weights=f"sha256:{self._custom.sha256[:16]}",
            custom=self._custom,
        )


def source_sha256(custom: Custom) -> str:
    """Of the file; of a factory, of what `sha256sum` prints for its sources.

    `OSError` or `ValueError` where there are none.
    """
    if custom.file is not None:
        return _digest(custom.file)
    assert custom.factory is not None  # noqa: S101 - one of the two is given
    paths = _sources(custom.factory, custom.folder)
    lines = [f"{_digest(path)}  {path.relative_to(custom.folder).as_posix()}\n" for path in paths]
    return sha256("".join(lines).encode()).hexdigest()


def _sources(factory: str, folder: Path) -> tuple[Path, ...]:
    """The Python files that may decide what it builds: all below the folder that its module is imported from.

    Rather too many: a change among them exports the model again, and the same bytes are the same artifact.
    """
    module = factory.partition(":")[0]
    place = folder.joinpath(*module.split("."))
    own = [path for path in (place.with_name(f"{place.name}.py"), place / "__init__.py") if path.is_file()]
    if not own:
        raise ValueError(f"there is no module {module} in {folder}; give the folder it is in as 'path'")
    found = set(own)
    for number, paths in enumerate(_python_below(folder)):
        found |= paths
        if number + len(found) > _MOST:
            raise ValueError(f"{folder} has more than {_MOST} Python files and folders; give a 'path' with less in it")
    return tuple(sorted(found))


def _python_below(folder: Path) -> Iterator[set[Path]]:
    """The Python files of each folder from ``folder`` down.

    Hidden folders and whole environments are left out; links are followed, each folder that they lead to once.
    """
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen or ("pyvenv.cfg" in files and Path(root) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NO_SOURCES)
        yield {path for name in files if (path := Path(root, name)).suffix == ".py" and path.is_file()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
