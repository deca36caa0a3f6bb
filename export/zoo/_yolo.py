"""The networks YOLOv5 (release 6) and YOLOv8 for detecting objects, defined anew from their published architecture.

A backbone of strided convolutions and cross-stage partial blocks (Wang et al. 2020) gives features of 1/8, 1/16 and
1/32 of the picture's side; spatial pyramid pooling widens what the last sees; a path aggregation neck (Liu et al. 2018)
mixes them downwards and upwards again; a head says boxes and classes for each cell of the three grids.

None of Ultralytics' code, which is under the AGPL-3.0, is used here: this file is under our own licence. Parameters
have the names that upstream's checkpoints have, so that those fit once converted to safetensors; such weights remain
under the AGPL-3.0.

The module needs torch, so that the models import it where they are built.
"""

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from export.draw import CALIBRATION
from export.zoo._checkpoint import load_weights
from export.zoo._pictures import pictures
from export.zoo._scale import calibrate, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Yolo5", "Yolo8", "detector"]

_STRIDES = (8, 16, 32)
_CALIBRATION_PIXELS = 8 * 640 * 640
"""Calibrated on: eight pictures of the full size, more of a smaller one."""

_BOX, _CLASS_V8, _OBJECT, _CLASS_V5 = (0.0, 1.0), (-6.0, 1.0), (-5.0, 1.5), (-2.0, 2.0)
"""Mean and standard deviation of drawn networks' scores before the sigmoid. As in trained ones, about one cell in a
hundred is more than a quarter sure of its object, and all degrees of doubt occur."""
_BINS = (0.0, 2.0)
"""Likewise of the bins of a side's length; so wide that its expectation differs from cell to cell."""

_ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
"""Widths and heights in pixels that YOLOv5 scales its boxes from, for each stride; found on COCO by its authors."""


class Conv(nn.Module):
    """A convolution that keeps the side (but for its stride), BatchNorm, SiLU."""

    def __init__(self, taken: int, given: int, kernel: int = 1, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(taken, given, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(given, eps=1e-3, momentum=0.03)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two convolutions, added to what came in where ``residual``."""

    def __init__(self, channels: int, first_kernel: int, residual: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels, first_kernel)
        self.cv2 = Conv(channels, channels, 3)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.cv2(self.cv1(x))
        return x + y if self.residual else y


class C3(nn.Module):
    """YOLOv5's cross-stage partial block: half of the channels pass through bottlenecks, the other half beside them."""

    def __init__(self, taken: int, given: int, depth: int, residual: bool) -> None:
        super().__init__()
        half = given // 2
        self.cv1 = Conv(taken, half)
        self.cv2 = Conv(taken, half)
        self.cv3 = Conv(2 * half, given)
        self.m = nn.Sequential(*(Bottleneck(half, 1, residual) for _ in range(depth)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return y


class C2f(nn.Module):
    """YOLOv8's: as `C3`, with what comes out of every bottleneck kept, not of the last one only."""

    def __init__(self, taken: int, given: int, depth: int, residual: bool) -> None:
        super().__init__()
        half = given // 2
        self.cv1 = Conv(taken, 2 * half)
        self.cv2 = Conv((2 + depth) * half, given)
        self.m = nn.ModuleList(Bottleneck(half, 3, residual) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            kept.append(block(kept[-1]))
        y: torch.Tensor = self.cv2(torch.cat(kept, 1))
        return y


class Sppf(nn.Module):
    """Spatial pyramid pooling: maxima over 5, 9 and 13 cells, by pooling three times over 5."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = Conv(channels, half)
        self.cv2 = Conv(4 * half, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = [self.cv1(x)]
        for _ in range(3):
            kept.append(nn.functional.max_pool2d(kept[-1], 5, 1, 2))
        y: torch.Tensor = self.cv2(torch.cat(kept, 1))
        return y


class _Detector(nn.Module):
    """Layers by upstream's numbers; those without parameters are written out in ``forward``."""

    def __init__(self, layers: dict[int, nn.Module]) -> None:
        super().__init__()
        self.model = nn.ModuleDict({str(number): layer for number, layer in layers.items()})

    def _through(self, x: torch.Tensor, *numbers: int) -> torch.Tensor:
        for number in numbers:
            x = self.model[str(number)](x)
        return x


class Yolo5(_Detector):
    """From pictures (batch, 3, side, side) to predictions (batch, cells, 5 + classes).

    A row holds centre x, centre y, width and height in pixels, whether there is an object, and the classes' scores.
    """

    def __init__(self, side: int, classes: int, width: float = 0.25, depth: float = 1 / 3) -> None:
        c1, c2, c3, c4, c5 = _channels(width)
        once, twice, thrice = (max(round(blocks * depth), 1) for blocks in (3, 6, 9))
        super().__init__(
            {
                0: Conv(3, c1, 6, 2, 2),
                1: Conv(c1, c2, 3, 2),
                2: C3(c2, c2, once, residual=True),
                3: Conv(c2, c3, 3, 2),
                4: C3(c3, c3, twice, residual=True),
                5: Conv(c3, c4, 3, 2),
                6: C3(c4, c4, thrice, residual=True),
                7: Conv(c4, c5, 3, 2),
                8: C3(c5, c5, once, residual=True),
                9: Sppf(c5),
                10: Conv(c5, c4),
                13: C3(2 * c4, c4, once, residual=False),
                14: Conv(c4, c3),
                17: C3(2 * c3, c3, once, residual=False),
                18: Conv(c3, c3, 3, 2),
                20: C3(2 * c3, c4, once, residual=False),
                21: Conv(c4, c4, 3, 2),
                23: C3(2 * c4, c5, once, residual=False),
                24: _Anchored(side, classes, (c3, c4, c5)),
            }
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        fine = self._through(images, 0, 1, 2, 3, 4)
        middle = self._through(fine, 5, 6)
        coarse = self._through(middle, 7, 8, 9, 10)
        lateral = self._through(_joined(_doubled(coarse), middle), 13, 14)
        first = self._through(_joined(_doubled(lateral), fine), 17)
        second = self._through(_joined(self._through(first, 18), lateral), 20)
        third = self._through(_joined(self._through(second, 21), coarse), 23)
        return (self.model["24"](first, second, third),)


class Yolo8(_Detector):
    """From pictures (batch, 3, side, side) to predictions (batch, 4 + classes, cells).

    A column holds centre x, centre y, width and height in pixels, and the classes' scores.
    """

    def __init__(self, side: int, classes: int, width: float = 0.25, depth: float = 1 / 3) -> None:
        c1, c2, c3, c4, c5 = _channels(width)
        once, twice = (max(round(blocks * depth), 1) for blocks in (3, 6))
        super().__init__(
            {
                0: Conv(3, c1, 3, 2),
                1: Conv(c1, c2, 3, 2),
                2: C2f(c2, c2, once, residual=True),
                3: Conv(c2, c3, 3, 2),
                4: C2f(c3, c3, twice, residual=True),
                5: Conv(c3, c4, 3, 2),
                6: C2f(c4, c4, twice, residual=True),
                7: Conv(c4, c5, 3, 2),
                8: C2f(c5, c5, once, residual=True),
                9: Sppf(c5),
                12: C2f(c5 + c4, c4, once, residual=False),
                15: C2f(c4 + c3, c3, once, residual=False),
                16: Conv(c3, c3, 3, 2),
                18: C2f(c3 + c4, c4, once, residual=False),
                19: Conv(c4, c4, 3, 2),
                21: C2f(c4 + c5, c5, once, residual=False),
                22: _Anchorless(side, classes, (c3, c4, c5)),
            }
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        fine = self._through(images, 0, 1, 2, 3, 4)
        middle = self._through(fine, 5, 6)
        coarse = self._through(middle, 7, 8, 9)
        lateral = self._through(_joined(_doubled(coarse), middle), 12)
        first = self._through(_joined(_doubled(lateral), fine), 15)
        second = self._through(_joined(self._through(first, 16), lateral), 18)
        third = self._through(_joined(self._through(second, 19), coarse), 21)
        return (self.model["22"](first, second, third),)


class _Anchored(nn.Module):
    """YOLOv5's head: for each cell three boxes, each scaled from an anchor."""

    def __init__(self, side: int, classes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.classes = classes
        self.m = nn.ModuleList(nn.Conv2d(taken, len(_ANCHORS[0]) * (5 + classes), 1) for taken in channels)
        strides = torch.tensor(_STRIDES, dtype=torch.float32)
        self.register_buffer("anchors", torch.tensor(_ANCHORS) / strides[:, None, None])  # in cells, as upstream's
        for level, corners in enumerate(_corners(side)):
            self.register_buffer(f"corners{level}", corners, persistent=False)

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        levels = []
        for level, (stride, feature) in enumerate(zip(_STRIDES, features, strict=True)):
            said = torch.unflatten(self.m[level](feature), 1, (-1, 5 + self.classes)).permute(0, 1, 3, 4, 2).sigmoid()
            offset, size, scores = said[..., :2], said[..., 2:4], said[..., 4:]
            # Centres may lie half a cell outside of theirs; sizes are at most four anchors.
            centre = (offset * 2 - 0.5 + self.get_buffer(f"corners{level}")) * stride
            size = (size * 2) ** 2 * (self.get_buffer("anchors")[level] * stride)[:, None, None]
            levels.append(torch.cat((centre, size, scores), -1).flatten(1, 3))
        return torch.cat(levels, 1)

    def heads(self) -> dict[nn.Conv2d, tuple[torch.Tensor, torch.Tensor]]:
        """The convolutions that say the scores, with the means and deviations that they are drawn to have."""
        wanted = torch.tensor([*[_BOX] * 4, _OBJECT, *[_CLASS_V5] * self.classes]).repeat(len(_ANCHORS[0]), 1)
        return {head: (wanted[:, 0], wanted[:, 1]) for head in self.m if isinstance(head, nn.Conv2d)}


class _Anchorless(nn.Module):
    """YOLOv8's head: for each cell one box, whose four sides lie at distances drawn from 16 bins (Li et al. 2020)."""

    bins = 16

    def __init__(self, side: int, classes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.classes = classes
        for_boxes = max(16, channels[0] // 4, 4 * self.bins)
        for_classes = max(channels[0], min(classes, 100))
        self.cv2 = nn.ModuleList(_branch(taken, for_boxes, 4 * self.bins) for taken in channels)
        self.cv3 = nn.ModuleList(_branch(taken, for_classes, classes) for taken in channels)
        self.dfl = _Expectation(self.bins)
        corners = [each.reshape(-1, 2) for each in _corners(side)]
        self.register_buffer("centres", torch.cat(corners).T + 0.5, persistent=False)
        strides = [torch.full((len(each),), float(stride)) for each, stride in zip(corners, _STRIDES, strict=True)]
        self.register_buffer("strides", torch.cat(strides), persistent=False)

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        boxes = torch.cat([branch(x).flatten(2) for branch, x in zip(self.cv2, features, strict=True)], 2)
        classes = torch.cat([branch(x).flatten(2) for branch, x in zip(self.cv3, features, strict=True)], 2)
        before, after = self.dfl(boxes).chunk(2, 1)  # left and top, right and bottom, in cells
        centre = self.get_buffer("centres") + (after - before) / 2
        box = torch.cat((centre, before + after), 1) * self.get_buffer("strides")
        return torch.cat((box, classes.sigmoid()), 1)

    def heads(self) -> dict[nn.Conv2d, tuple[torch.Tensor, torch.Tensor]]:
        """As of `_Anchored`."""
        wanted: Iterable[tuple[nn.ModuleList, tuple[float, float]]] = ((self.cv2, _BINS), (self.cv3, _CLASS_V8))
        found = {}
        for branches, (mean, deviation) in wanted:
            for branch in branches:
                head = list(branch.children())[-1]
                if isinstance(head, nn.Conv2d):
                    given = head.out_channels
                    found[head] = torch.full((given,), mean), torch.full((given,), deviation)
        return found


class _Expectation(nn.Module):
    """The mean distance under the distribution over bins, as a convolution with the bins' numbers."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.conv = nn.Conv2d(bins, 1, 1, bias=False)
        self.conv.weight.requires_grad_(False).copy_(torch.arange(bins)[:, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = torch.unflatten(x, 1, (4, self.bins)).transpose(1, 2).softmax(1)
        y: torch.Tensor = self.conv(shares).squeeze(1)
        return y


def _branch(taken: int, inner: int, given: int) -> nn.Sequential:
    return nn.Sequential(Conv(taken, inner, 3), Conv(inner, inner, 3), nn.Conv2d(inner, given, 1))


def _channels(width: float) -> tuple[int, ...]:
    """Of the five stages, as multiples of 8."""
    return tuple(8 * ceil(channels * width / 8) for channels in (64, 128, 256, 512, 1024))


def _corners(side: int) -> "Iterable[torch.Tensor]":
    """For each stride the cells' numbers (rows, columns, 2), x first."""
    for stride in _STRIDES:
        numbers = torch.arange(side // stride, dtype=torch.float32)
        y, x = torch.meshgrid(numbers, numbers, indexing="ij")
        yield torch.stack((x, y), -1)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _joined(*features: torch.Tensor) -> torch.Tensor:
    return torch.cat(features, 1)


def detector(make: "Callable[[], Yolo5 | Yolo8]", side: int, weights: str, seed: int) -> nn.Module:
    """A detector for pictures of ``side`` in evaluation mode, with weights ``random`` or as `load_weights` takes them.

    Random weights are calibrated on pictures apart from those that are measured.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make().eval()
    if weights != "random":
        load_weights(module, weights)
        return module
    count = min(_CALIBRATION_PIXELS // side**2, 64)
    examples = [torch.from_numpy(pictures(count, side, np.random.default_rng([seed, CALIBRATION])))]
    calibrate(module, examples)
    for part in module.modules():
        if isinstance(part, _Anchored | _Anchorless):
            spread(module, examples, part.heads())
    return module
