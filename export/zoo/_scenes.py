"""Images with a few things in them, made up from a seed: what stands in for COCO where no photographs are at hand.

A quiet background of coarse noise, and on it coloured ellipses with a grain of their own, at most one in each ninth of
the image. A network that was never trained sees nothing in them; `export.zoo._arena` fits one that does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scene", "scene"]

_PLACES = 3
"""Along each side, so that things stand apart."""
_SQUARES = 10, 2
"""Of the background along each side, for images whose side is a multiple of ten, and for others."""


@dataclass(frozen=True, slots=True)
class Scene:
    image: NDArray[np.uint8]
    """(side, side, 3)"""
    centres: NDArray[np.float64]
    """(things, 2): where each thing's middle is, x first, in pixels."""


def scene(things: int, side: int, generator: np.random.Generator) -> Scene:
    """An image of ``side``, an even number, with up to nine things."""
    squares = _SQUARES[0] if side % _SQUARES[0] == 0 else _SQUARES[1]
    coarse = generator.uniform(96, 160, (squares, squares, 3)).repeat(side // squares, 0).repeat(side // squares, 1)
    image = coarse + generator.uniform(-12, 12, (side, side, 1))
    room = side / _PLACES
    rows, columns = np.divmod(generator.permutation(_PLACES**2)[:things], _PLACES)
    middles = np.stack((columns, rows), 1) + 0.5 + generator.uniform(-0.15, 0.15, (things, 2))
    for middle in middles * room:
        _paint(image, middle, generator.uniform(0.2, 0.3, 2) * room, generator)
    return Scene(image.clip(0, 255).astype(np.uint8), middles * room)


def _paint(
    image: NDArray[np.float64], middle: NDArray[np.float64], axes: NDArray[np.float64], generator: np.random.Generator
) -> None:
    """One ellipse by its middle and half axes (x, y), in strong colours that are never a grey."""
    side, (x, y), (across, down) = len(image), middle, axes
    rows = slice(max(0, int(y - down)), min(side, int(y + down) + 2))
    columns = slice(max(0, int(x - across)), min(side, int(x + across) + 2))
    part = image[rows, columns]
    ys, xs = np.ogrid[rows, columns]
    inside = ((xs - x) / across) ** 2 + ((ys - y) / down) ** 2 < 1
    strong = np.array([20.0, 235.0])[generator.permutation([0, 1, int(generator.integers(2))])]
    part[inside] = (strong + generator.uniform(-20, 20, (*part.shape[:2], 1)))[inside]
