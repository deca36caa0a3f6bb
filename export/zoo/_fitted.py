"""A drawn detector that finds the things in made-up scenes.

Random weights would detect nothing sensible: on some images nothing, on others everything. So the last layer is fitted
to scenes by least squares, as if it had been trained on them. The graph and its speed stay what they are.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.draw import CALIBRATION
from export.zoo._arena import function
from export.zoo._scenes import Scene, scene
from servers.arena_common import pipeline

if TYPE_CHECKING:
    import torch

__all__ = ["Anchor", "fit"]

_FITTED_PIXELS = 8 * 640 * 640
"""Of the scenes that the detector is fitted to, and of as many others that its threshold is set by."""
_MOST_FITTED = 64
_STRIDES = (8, 16, 32)


class Anchor(NamedTuple):
    """The one kind of box that a fitted detector finds things with: large enough that the boxes of neighbouring cells
    overlap and are suppressed, small enough that those of neighbouring things do not."""

    level: int
    number: int


def fit(detector: "torch.nn.Module", anchor: Anchor, side: int, seed: int) -> None:
    """Make a drawn detector find the things of `scene`, in place.

    Its statistics are set on scenes; then the objectness of ``anchor`` is the ridge regression of "a thing's middle
    lies in this cell" on the features that its head sees, and that of all other anchors is practically 0. The
    threshold lies where other scenes get as many detections as they have things.
    """
    import torch

    from export.zoo._scale import calibrate, spread

    generator = np.random.default_rng([seed, CALIBRATION])
    half = min(_FITTED_PIXELS // side**2, _MOST_FITTED)
    scenes = [scene(int(count), side, generator) for count in generator.permutation(np.arange(2 * half) % 3 + 3)]
    seen = [torch.from_numpy(np.concatenate([pipeline.detector_input(each.image) for each in scenes[:half]]))]
    calibrate(detector, seen)
    (last,) = (layer for layer in detector.modules() if hasattr(layer, "heads"))
    heads: dict[Any, tuple[torch.Tensor, torch.Tensor]] = last.heads()  # type: ignore[operator]
    spread(detector, seen, heads)
    with torch.no_grad():
        for head in heads:
            rows = head.out_channels // 3  # of each of three anchors: four of the box, objectness, the classes'
            for first in range(0, head.out_channels, rows):
                # Boxes stay near their anchor's size, so that one suppresses those of the neighbouring cells.
                head.weight[first : first + 4] /= 4
                head.bias[first : first + 4] /= 4
                head.weight[first + 4] = 0
                head.bias[first + 4] = -12
        head = list(heads)[anchor.level]
        row = anchor.number * (head.out_channels // 3) + 4
        weight, bias = _regressed(_features(detector, head, seen[0]), scenes[:half], _STRIDES[anchor.level])
        head.weight[row, :, 0, 0] = torch.from_numpy(weight.astype(np.float32))
        head.bias[row] = bias
        head.bias[row] -= _threshold(function(detector), scenes[half:], side)


def _features(detector: "torch.nn.Module", head: "torch.nn.Module", images: "torch.Tensor") -> NDArray[np.float64]:
    """What ``head`` sees of ``images``: (images, rows, columns, channels)."""
    seen: list[NDArray[np.float64]] = []

    def note(_: object, given: "tuple[torch.Tensor, ...]") -> None:
        seen.append(given[0].permute(0, 2, 3, 1).double().numpy())

    hook = head.register_forward_pre_hook(note)
    detector(images)
    hook.remove()
    return seen[0]


def _regressed(features: NDArray[np.float64], scenes: list[Scene], stride: int) -> tuple[NDArray[np.float64], float]:
    """Weights and offset that say +6 where a thing's middle lies and -6 elsewhere; its neighbours do not count."""
    images, rows, columns, channels = features.shape
    wanted = np.full((images, rows, columns), -6.0)
    counts = np.ones_like(wanted)
    cells = [(n, *np.array(centre[::-1] // stride, int)) for n, each in enumerate(scenes) for centre in each.centres]
    for n, row, column in cells:
        counts[n, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 0
    for n, row, column in cells:
        wanted[n, row, column], counts[n, row, column] = 6.0, rows * columns / 8
    x = np.concatenate((features.reshape(-1, channels), np.ones((wanted.size, 1))), 1)
    weighted = x * counts.reshape(-1, 1)
    solved = np.linalg.solve(x.T @ weighted + np.eye(channels + 1), weighted.T @ wanted.reshape(-1))
    return solved[:-1], float(solved[-1])


def _threshold(detect: Callable[[pipeline.Array], pipeline.Array], scenes: list[Scene], side: int) -> float:
    """What to take from the logits of objectness, in quarters."""
    told = [detect(pipeline.detector_input(each.image))[0] for each in scenes]
    objects = [np.clip(each[:, 4].astype(np.float64), 1e-12, 1 - 1e-12) for each in told]
    logits = [np.log(each / (1 - each)) for each in objects]
    wanted = sum(len(each.centres) for each in scenes)

    def missed(shift: float) -> float:
        found = 0
        for predictions, logit in zip(told, logits, strict=True):
            moved = predictions.copy()
            moved[:, 4] = 1 / (1 + np.exp(shift - logit))
            found += len(pipeline.detections(moved, side)[0])
        return abs(found - wanted)

    return float(min(np.arange(-4, 10, 0.25), key=missed))
