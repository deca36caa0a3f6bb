"""Images for the pipeline, chosen by rejection.

Their numbers of crops are distributed as in the original's dataset, and every decision that the pipeline takes about
them has room for rounding, so that every runtime takes it alike.
"""

from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.zoo._arena import TOLERANCE, function
from export.zoo._scenes import scene
from nightbench.errors import ExportError
from servers.arena_common import pipeline

if TYPE_CHECKING:
    import torch

__all__ = ["candidates", "chosen", "settled"]

_ROOM_FOR_SCORES = 2 * TOLERANCE
_ROOM_FOR_OVERLAPS = 0.01
_ROOM_FOR_CLASSES = 0.02
"""In logits, whose variance is 1."""

_SHARES = {3: 0.32, 5: 0.32}
"""Of images by their number of crops; the rest has 4. Their mean is 4, their standard deviation 0.8."""
_TRIES_PER_IMAGE = 60


def chosen(
    count: int,
    candidates: Iterator[NDArray[np.uint8]],
    detect: "torch.nn.Module",
    classify: "torch.nn.Module",
    crop_side: int,
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """``count`` images of ``candidates``, such that their numbers of crops are distributed as the original's.

    Taken are only those of which another runtime decides alike (`settled`). Raises `ExportError` where too few are.
    """
    left = {crops: round(share * count) for crops, share in _SHARES.items()}
    left[4] = count - sum(left.values())
    looks_at, names = function(detect), function(classify)
    taken: list[NDArray[np.uint8]] = []
    tried = 0
    for image in islice(candidates, _TRIES_PER_IMAGE * count + 100):
        if len(taken) == count:
            break
        tried += 1
        predictions = looks_at(pipeline.detector_input(image))[0]
        boxes, _ = pipeline.detections(predictions, len(image))
        if not left.get(len(boxes)) or not settled(predictions, len(image)):
            continue
        best = np.sort([names(crop[None])[0] for crop in pipeline.crops(image, boxes, crop_side)], 1)[:, -2:]
        if (best[:, 1] - best[:, 0] > _ROOM_FOR_CLASSES).all():
            left[len(boxes)] -= 1
            taken.append(image)
    if len(taken) < count:
        lacking = ", ".join(f"{more} with {crops}" for crops, more in sorted(left.items()) if more)
        raise ExportError(
            f"of {tried} images only {len(taken)} of {count} have 3 to 5 detections without a close decision; "
            f"lacking are {lacking}: ask for a smaller pool, or put more images into the folder images/ of the weights"
        )
    return np.stack([taken[at] for at in generator.permutation(count)])


def settled(predictions: pipeline.Array, side: int) -> bool:
    """Whether the same boxes are kept in the same order, whatever rounding does to scores and overlaps.

    Rounding moves a score by less than half of `_ROOM_FOR_SCORES`, an overlap by less than `_ROOM_FOR_OVERLAPS`. Then
    the greedy choice stays the same if (a) every kept box is surer than the threshold by that room, (b) every other box
    that may be sure enough overlaps more than allowed with a kept one that is surer than itself, (c) no two kept boxes
    overlap by about as much as is allowed, and (d) no two kept ones are about equally sure. By induction over the
    order, a kept box is never suppressed (c), and another is looked at after the kept one that suppresses it (b).
    """
    scores = predictions[:, 4] * predictions[:, 5:].max(1)
    boxes, kept = pipeline.detections(predictions, side)
    if len(kept) == pipeline.MOST or (kept < pipeline.CONFIDENCE + _ROOM_FOR_SCORES).any():
        return False
    if (-np.diff(kept) < _ROOM_FOR_SCORES).any():
        return False
    between = [pipeline.overlaps(box, boxes[number + 1 :]) for number, box in enumerate(boxes)]
    if any((each > pipeline.IOU - _ROOM_FOR_OVERLAPS).any() for each in between):
        return False
    rivals = predictions[scores > pipeline.CONFIDENCE - _ROOM_FOR_SCORES]
    sure = rivals[:, 4] * rivals[:, 5:].max(1)
    halves = rivals[:, 2:4] / 2
    corners = (np.concatenate((rivals[:, :2] - halves, rivals[:, :2] + halves), 1) / side).astype(np.float32)
    beaten = np.zeros(len(rivals), bool)
    for box, score in zip(boxes, kept, strict=True):
        overlapping = pipeline.overlaps(box, corners) > pipeline.IOU + _ROOM_FOR_OVERLAPS
        beaten |= overlapping & (sure < score - _ROOM_FOR_SCORES)
    return int(beaten.sum()) == len(rivals) - len(kept)


def candidates(weights: str, side: int, generator: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Photographs of the folder ``images`` of ``weights``, in random order; without one, scenes without end.

    Raises `ExportError` where the folder holds none, or Pillow is not installed.
    """
    folder = Path(weights) / "images"
    if weights == "random" or not folder.is_dir():
        while True:
            yield scene(int(generator.integers(3, 6)), side, generator).image
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not files:
        raise ExportError(f"the folder {folder} holds no .jpg or .png file; put photographs there")
    for at in generator.permutation(len(files)):
        yield _photograph(files[at], side)


def _photograph(path: Path, side: int) -> NDArray[np.uint8]:
    """Stretched to the detector's square: a letterbox would be the same work for every architecture."""
    try:
        pillow = import_module("PIL.Image")
    except ImportError as error:
        raise ExportError("photographs are read by Pillow, which is not installed; pip install pillow") from error
    try:
        with pillow.open(path) as opened:
            return np.array(opened.convert("RGB").resize((side, side), pillow.Resampling.BILINEAR), np.uint8)
    except OSError as error:  # what is no image is one of these too
        raise ExportError(f"the photograph {path} cannot be read: {error}; remove it") from error
