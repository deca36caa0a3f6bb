"""Exports in this process and without the cache, for tests of what a format writes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from export import zoo
from export.draw import POOL, Arrays, draw
from export.formats.base import Work, exporter
from nightbench.model import Format, ModelSpec, Precision

__all__ = ["Bench", "refuse"]


def refuse(*_: object) -> Path:
    raise AssertionError("nothing else may be exported for this")


@dataclass(slots=True)
class Bench:
    """One model, written once in each format and precision that is asked for."""

    folder: Path
    spec: ModelSpec
    module: Callable[[], torch.nn.Module]
    stages: Callable[[], Mapping[str, torch.nn.Module]] = dict
    facts: dict[tuple[Format, Precision], dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of_zoo(cls, folder: Path, name: str) -> "Bench":
        spec = zoo.models()[name]
        return cls(folder, spec, partial(zoo.build, spec, "random"))

    def path(self, file_format: Format, precision: Precision = Precision.FP32) -> Path:
        kind = exporter(file_format)
        path = self.folder / f"{file_format}-{precision}{kind.suffix}"
        if (file_format, precision) not in self.facts:
            work = Work(self.spec, "random", precision, self.module, self.stages, self.path, {})
            self.facts[file_format, precision] = kind.export(work, path)
        return path

    def answers(self, file_format: Format, precision: Precision, count: int) -> Arrays:
        run = exporter(file_format).open(self.path(file_format, precision), self.spec, {})
        return run(draw(self.spec, count, POOL))

    def reference(self, count: int) -> Arrays:
        tensors = [torch.from_numpy(array) for array in draw(self.spec, count, POOL).values()]
        with torch.inference_mode():
            outputs = self.module()(*tensors)
        return {spec.name: output.numpy() for spec, output in zip(self.spec.outputs, outputs, strict=True)}

    def nrmse(self, file_format: Format, precision: Precision, count: int) -> float:
        """RMS(got - want) / RMS(want) of the first output, which must have the shape and type that PyTorch gives."""
        name = self.spec.outputs[0].name
        got, want = self.answers(file_format, precision, count)[name], self.reference(count)[name]
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        gap = got.astype(np.float64) - want
        return float(np.linalg.norm(gap) / np.linalg.norm(want))
