"""What every format offers: a way to write a model, and a way to run what was written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from export.draw import CALIBRATION, Arrays, draw
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["THREADS", "Exporter", "Runner", "example", "exporter", "runtime_version", "versions"]

THREADS = 2
"""Threads of every library in this room; fixed, because the order of fp32 sums depends on it."""

Runner = Callable[[Mapping[str, "NDArray[np.generic]"]], Arrays]
"""Inputs by name with their batch axis in, outputs by name out. Raises whatever the runtime raises."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """One format; its module holds it as ``EXPORTER``."""

    suffix: str
    version: int
    """Raised when the module writes other bytes than before: cached artifacts of other versions are not used."""
    tools: tuple[str, ...]
    """Distributions whose version may change the bytes."""
    runtime: tuple[str, ...]
    """The distribution that runs the artifact for parity, under any of these names."""
    reproducible: bool
    """Whether the same model gives the same bytes in every fresh process."""
    export: Callable[["torch.nn.Module", ModelSpec, Path], dict[str, str]]
    """Write the module to a path, as a file or a folder; returns what is worth knowing about how."""
    open: Callable[[Path, ModelSpec], Runner]
    """Load a written file for running on the CPU."""


@cache
def exporter(file_format: Format) -> Exporter:
    """The one exporter of a format. Imports no heavy library."""
    found: Exporter = import_module(f"export.formats.{file_format.value}").EXPORTER
    return found


def example(spec: ModelSpec) -> "tuple[torch.Tensor, ...]":
    """Inputs to export with. Two items: an exporter may take a batch of one for a constant."""
    import torch

    return tuple(torch.from_numpy(array) for array in draw(spec, 2, CALIBRATION).values())


def versions(*distributions: str) -> dict[str, str]:
    """The installed version of each distribution, read from its metadata: nothing is imported.

    Raises `ExportError` where one is not installed.
    """
    try:
        return {name: metadata.version(name) for name in distributions}
    except metadata.PackageNotFoundError as error:
        raise ExportError(
            f"package {error.name!r} is not installed; install nightbench with its 'export' extra"
        ) from error


def runtime_version(names: tuple[str, ...]) -> str:
    """``name version`` of the first of ``names`` that is installed; `ExportError` where none is."""
    for name in names:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    raise ExportError(f"package {names[0]!r} is not installed; install nightbench with its 'export' extra")
