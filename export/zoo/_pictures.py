"""Random pictures: what detectors take, as far as their speed and their rounding can tell.

Noise of several grains, as photographs have detail at every size. A detector's layers see nothing of objects in noise
of single pixels: whatever stands in one place stands in all of them.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pictures"]


def pictures(count: int, side: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """``count`` pictures (count, 3, side, side) of values from 0 to 1; ``side`` is a multiple of 16."""
    grains = (1, side // 16, side // 4)
    total = np.zeros((count, 3, side, side), np.float32)
    for grain in grains:
        coarse = generator.random((count, 3, side // grain, side // grain), dtype=np.float32)
        total += coarse.repeat(grain, 2).repeat(grain, 3)
    total /= len(grains)
    return total
