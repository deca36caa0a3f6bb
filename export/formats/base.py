"""What every format offers: a way to write a model, and a way to run what was written."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from export.draw import CALIBRATION, Arrays, draw
from export.environments import ENVIRONMENTS
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["THREADS", "Exporter", "Runner", "Work", "example", "exporter", "graph_facts", "runtime_version", "versions"]

THREADS = 2
"""Threads of every library in this room; fixed, because the order of fp32 sums depends on it."""

Runner = Callable[[Mapping[str, "NDArray[np.generic]"]], Arrays]
"""Inputs by name with their batch axis in, outputs by name out. Raises whatever the runtime raises."""


@dataclass(frozen=True, slots=True)
class Work:
    """One model to be written in one format and precision."""

    spec: ModelSpec
    weights: str
    precision: Precision
    module: Callable[[], "torch.nn.Module"]
    """Builds it in fp32, anew at each call: what is built may be changed in place."""
    stages: Callable[[], Mapping[str, "torch.nn.Module"]]
    """Likewise, each of `ModelSpec.stages` by its name."""
    source: Callable[[Format, Precision], Path]
    """The same model in another format, exported first if need be: what formats that are made from ONNX start from."""
    tools: Mapping[str, Path]
    """The interpreter of each environment in `Exporter.environments`."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """One format; its module holds it as ``EXPORTER``."""

    suffix: str
    version: int
    """Raised when the module writes other bytes than before: cached artifacts of other versions are not used."""
    tools: tuple[str, ...]
    """Distributions whose version may change the bytes."""
    runtime: tuple[str, ...]
    """The distribution that runs the artifact for parity, under any of these names; none where ``environments`` do."""
    reproducible: bool
    """Whether the same model gives the same bytes in every fresh process."""
    export: Callable[[Work, Path], dict[str, str]]
    """Write the model to a path, as a file or a folder; returns what is worth knowing about how."""
    open: Callable[[Path, ModelSpec, Mapping[str, Path]], Runner]
    """Load what was written, for running on the CPU; with the same tools."""
    environments: tuple[str, ...] = ()
    """Folders of `export/environments` whose packages it needs and ours cannot hold beside the others."""
    needs: tuple[str, ...] = ()
    """What a machine must have, as in `nightbench.server.ServerSpec.needs`."""


@cache
def exporter(file_format: Format) -> Exporter:
    """The one exporter of a format. Imports no heavy library."""
    found: Exporter = import_module(f"export.formats.{file_format.value.replace('-', '_')}").EXPORTER
    return found


def graph_facts(spec: ModelSpec) -> dict[str, Any]:
    """All of a spec that its artifacts and answers depend on, as JSON values.

    Left out is what only describes it: a licence, a tolerance, where a custom model's file lies.
    """
    told = asdict(spec)
    for name in ("tolerance", "tolerances", "licence", "hub_weights", "default_weights", "classifier", "custom"):
        del told[name]
    if spec.custom is not None:
        told["custom"] = {"factory": spec.custom.factory, "sha256": spec.custom.sha256}
    return told


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


def runtime_version(kind: Exporter) -> str:
    """``name version`` of what runs its artifacts; `ExportError` where none of `Exporter.runtime` is installed."""
    for name in kind.environments:
        return f"{name} {ENVIRONMENTS[name].fingerprint}"
    for name in kind.runtime:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    raise ExportError(f"package {kind.runtime[0]!r} is not installed; install nightbench with its 'export' extra")
