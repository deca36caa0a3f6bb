"""The pipeline of Inference Arena: a detector, a classifier for each of its crops, and images with 3 to 5 of them.

What lies between the two models is `servers.arena_common.pipeline`, the very file that the servers run.

A detector with random weights is fitted to made-up scenes (`export.zoo._fitted`), and images are chosen so that the
number of crops is distributed as in the original's dataset (`export.zoo._chosen`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.draw import Arrays
from nightbench.errors import ExportError
from nightbench.model import DType, Stage, TensorSpec
from servers.arena_common import pipeline

if TYPE_CHECKING:
    import torch

    from export.formats.base import Runner

__all__ = ["OUTPUTS", "TOLERANCE", "function", "image_input", "part", "reference", "run"]

OUTPUTS = (
    TensorSpec("count", DType.INT32, (1,)),
    # Left, top, right, bottom in shares of the image's side; the rows after ``count`` are 0.
    TensorSpec("boxes", DType.FP32, (pipeline.MOST, 4)),
    TensorSpec("scores", DType.FP32, (pipeline.MOST,)),
    # The classifier's likeliest class of each crop; -1 after ``count``.
    TensorSpec("labels", DType.INT32, (pipeline.MOST,)),
)

TOLERANCE = 2e-3
"""Of boxes and scores, all between about 0 and 1. Counts and labels are whole numbers: any difference is too much."""


def image_input(side: int) -> TensorSpec:
    """A decoded image. Not a JPEG: decoders differ in their last bits, and their speed is no architecture's."""
    return TensorSpec("image", DType.UINT8, (side, side, 3))


def part(weights: str, name: str) -> str:
    """The weights of one stage: of the folder ``weights`` that is named after it, else ``random``."""
    if weights == "random":
        return weights
    folder = Path(weights)
    if not folder.is_dir() or not any((folder / each).is_dir() for each in ("detect", "classify", "images")):
        raise ExportError(
            f"weights {weights!r} are no folder that holds detect/, classify/ or images/; make one, or use 'random'"
        )
    return str(folder / name) if (folder / name).is_dir() else "random"


def reference(detect: "torch.nn.Module", classify: "torch.nn.Module", crop_side: int, side: int) -> "torch.nn.Module":
    """Both models and what lies between them as one module. It cannot be traced: it is there to be asked."""
    import torch

    class Pipeline(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detect, self.classify = detect, classify

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if image.shape[1:] != (side, side, 3):
                raise ValueError(f"images are {tuple(image.shape[1:])} instead of {(side, side, 3)}")
            told = pipeline.answers(image.numpy(), function(self.detect), function(self.classify), crop_side)
            return tuple(torch.from_numpy(told[each.name]) for each in OUTPUTS)

    return Pipeline().eval()


def run(
    stages: tuple[Stage, ...], runners: "Mapping[str, Runner]", inputs: Mapping[str, NDArray[np.generic]]
) -> Arrays:
    """The pipeline over exported stages, for their parity with PyTorch."""
    detect, classify = (_runner(stage, runners[stage.name]) for stage in stages)
    (images,) = inputs.values()
    return pipeline.answers(images.astype(np.uint8, copy=False), detect, classify, stages[1].inputs[0].shape[-1])


def function(module: "torch.nn.Module") -> Callable[[pipeline.Array], pipeline.Array]:
    """A module of one input and one output, for NumPy's arrays."""
    import torch

    def call(array: pipeline.Array) -> pipeline.Array:
        with torch.inference_mode():
            told: pipeline.Array = module(torch.from_numpy(array))[0].numpy()
        return told

    return call


def _runner(stage: Stage, runner: "Runner") -> Callable[[pipeline.Array], pipeline.Array]:
    def call(array: pipeline.Array) -> pipeline.Array:
        return runner({stage.inputs[0].name: array})[stage.outputs[0].name].astype(np.float32, copy=False)

    return call
