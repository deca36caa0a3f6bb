"""What lies between the two models of a pipeline: from an image to the detector, from boxes to crops, to an answer.

Every architecture and the PyTorch reference run this very file, so that nothing but the architecture can differ. It
imports NumPy alone and nothing of nightbench.

Each step is a continuous function of its input but for three decisions: which boxes are sure enough, which of them
overlap too much, and which class is the likeliest. Crops in particular are sampled at the box's real corners, not at
whole pixels: rounding in another runtime moves a crop by as little as it moves the box.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONFIDENCE", "IOU", "MOST", "answer", "answers", "crops", "detections", "detector_input", "overlaps"]

Array = NDArray[np.float32]

CONFIDENCE = 0.25
"""Boxes of which the detector is less sure are no detections. YOLOv5's own default, as the next."""
IOU = 0.45
"""Of two boxes that overlap by more, intersection over union, the surer one is kept."""
MOST = 8
"""Detections of one image that are classified, the surest first; also the length of the answer's arrays."""


def detector_input(image: NDArray[np.uint8]) -> Array:
    """An image (side, side, 3) as the detector takes it: (1, 3, side, side), values from 0 to 1.

    Images come in the detector's size, so there is no letterbox to draw round them.
    """
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def detections(predictions: Array, side: int) -> tuple[Array, Array]:
    """Boxes (n, 4) as left, top, right, bottom in shares of the image, and how sure each is (n), the surest first.

    ``predictions`` (rows, 5 + classes) are YOLOv5's: centre, width and height in pixels, objectness, and a share for
    each class. Suppression does not ask for the class: each crop is classified anew, and one object is one crop.
    At most `MOST` are kept. What has a score that is not a number, or a corner that is not finite, is no detection.
    """
    likely = predictions[predictions[:, 4] > CONFIDENCE]  # a score is never above its objectness
    scores = likely[:, 4] * likely[:, 5:].max(1, initial=0)
    boxes = _corners(likely[:, :4]) / np.float32(side)
    sure = (scores > CONFIDENCE) & np.isfinite(boxes).all(1)
    boxes, scores = boxes[sure], scores[sure]
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    kept: list[int] = []
    left = np.arange(len(scores))
    while len(left) and len(kept) < MOST:
        first, left = left[0], left[1:]
        kept.append(int(first))
        left = left[overlaps(boxes[first], boxes[left]) <= IOU]
    return boxes[kept], scores[kept]


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of ``box`` (4) with each of ``others`` (n, 4); 0 where both are empty."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def crops(image: NDArray[np.uint8], boxes: Array, side: int) -> Array:
    """What each box shows, bilinearly resized: (n, 3, side, side), values from -1 to 1 as MobileNetV2 takes them.

    Outside of the image its nearest pixel is taken. There is no smoothing before shrinking.
    """
    height, width, _ = image.shape
    out = np.empty((len(boxes), 3, side, side), np.float32)
    steps = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    for number, (left, top, right, bottom) in enumerate(boxes):
        x0, x1, across = _samples(left, right, steps, width)
        y0, y1, down = _samples(top, bottom, steps, height)
        upper, lower = image[y0].astype(np.float32), image[y1].astype(np.float32)
        rows = upper + (lower - upper) * down[:, None, None]
        shown = rows[:, x0] + (rows[:, x1] - rows[:, x0]) * across[None, :, None]
        out[number] = (shown / np.float32(127.5) - np.float32(1)).transpose(2, 0, 1)
    return out


def answer(boxes: Array, scores: Array, logits: Array) -> dict[str, NDArray[np.generic]]:
    """One image's outputs of fixed shapes: what is not there is 0, and a class that is not there is -1."""
    count = len(boxes)
    out: dict[str, NDArray[np.generic]] = {
        "count": np.array([count], np.int32),
        "boxes": np.zeros((MOST, 4), np.float32),
        "scores": np.zeros(MOST, np.float32),
        "labels": np.full(MOST, -1, np.int32),
    }
    out["boxes"][:count] = boxes
    out["scores"][:count] = scores
    out["labels"][:count] = logits.argmax(1) if count else ()
    return out


def answers(
    images: NDArray[np.uint8], detect: Callable[[Array], Array], classify: Callable[[Array], Array], crop_side: int
) -> dict[str, NDArray[np.generic]]:
    """The whole pipeline for a batch of images, one after the other, each crop by itself.

    ``detect`` takes what `detector_input` gives and returns (1, rows, 5 + classes); ``classify`` takes one crop
    (1, 3, crop_side, crop_side) and returns (1, classes).
    """
    done = []
    for image in images:
        boxes, scores = detections(detect(detector_input(image))[0], image.shape[0])
        logits = [classify(crop[None]) for crop in crops(image, boxes, crop_side)]
        done.append(answer(boxes, scores, np.concatenate(logits) if logits else np.empty((0, 1), np.float32)))
    return {name: np.stack([each[name] for each in done]) for name in done[0]}


def _corners(centred: Array) -> Array:
    """Left, top, right, bottom from centre, width, height."""
    centres, halves = centred[:, :2], centred[:, 2:] / np.float32(2)
    return np.concatenate((centres - halves, centres + halves), 1)


def _samples(
    start: np.float32, end: np.float32, steps: Array, length: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Along one side: the pixels before and after each sample, and how far it lies from the one before."""
    at = np.clip((start + (end - start) * steps) * np.float32(length) - np.float32(0.5), 0, length - 1)
    before = at.astype(np.intp)
    return before, np.minimum(before + 1, length - 1), at - before.astype(np.float32)
