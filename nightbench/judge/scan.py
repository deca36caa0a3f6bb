"""How much the newest nights of a series speak for a shift of its level: a scan of likelihood ratios.

The form is the generalised likelihood ratio scan (Willsky & Jones, IEEE Trans. Automatic Control 21, 1976; Siegmund,
"Sequential Analysis", 1985, VIII): for every first night that a change may have, the likelihood of the nights since
then with the level shifted, over that without, in logarithms and summed. Three things differ from the textbook.

*The density is the series' own*, a kernel estimate over its baseline nights. So a series that always had two modes, or
one wild night in ten, is not surprised by another; nothing is taken for normal. The kernel is Cauchy's, whose tails
keep what one night can say small wherever there was no night before.

*Sizes have weights*: most have 10 % and 20 %, little has the smallest one of interest, and very little what the nights
themselves show, where that is larger. Evidence is the mixture (Robbins, Annals of Mathematical Statistics 41, 1970),
not the maximum over all sizes: of a noisy series that would be a shift by half that nobody expects.

*Dependence discounts it.* Evidence of k nights is divided by how much larger the variance of their mean is than that of
independent nights about a known level: for AR(1) noise, and for the baseline's own error.
"""

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.judge.levels import Scatter

__all__ = ["Evidence", "scan"]

Floats = NDArray[np.float64]

_SMALL = 5.0 / 3.0
"""The smallest size, of the least effect."""
_SIZES = (0.1, 0.2)
"""Relative, of a rise; a fall is by the same factor."""
_WEIGHTS = np.array([0.04, 0.64, 0.29, 0.03])
"""Of the smallest, of `_SIZES`, and of what the nights show."""
_LARGE = 1.5
"""Times the largest of `_SIZES`: from there on what the nights show is asked for."""
_MOST_A_NIGHT = 4.0
"""Of log likelihood ratio, where nights must bear each other out: two however wild are no firm suspicion."""
_BANDWIDTH = 1.5
"""Times scale times n^-1/5 (Silverman, "Density Estimation", 1986, 3.4.2; his 0.9 is for a normal kernel)."""
_BULK_FLOOR = 0.3
_FINEST = 0.08
"""No density is told apart finer than this share of the least effect: a constant series has one, too."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Log evidence that the level rose (row 0) or fell (row 1) with the k newest nights, k = 1, 2, ... in columns."""

    bounded: Floats
    """No night says more than `_MOST_A_NIGHT`. Discounted for dependence."""
    whole: Floats
    """A night says what it says. Discounted, too."""
    plain: Floats
    """Bounded and not discounted: what locates, for the discount would favour the newest nights."""


def scan(newest: Floats, base: Floats, noise: Scatter, effect: float, own: float) -> Evidence:
    """Of the logarithms of the ``newest`` nights, oldest first, against the ``base`` and its ``noise``.

    Changes smaller than ``effect`` (relative) are none: sizes below it are taken at it. ``own`` is the standard error
    that the nights have by themselves, of a logarithm: a baseline that scatters less does so by luck.
    """
    sizes = [math.log1p(max(size, effect)) for size in (_SMALL * effect, *_SIZES)]
    bulk = max(noise.bulk, _BULK_FLOOR * noise.scale, own)
    width = max(_BANDWIDTH * bulk * len(base) ** -0.2, _FINEST * effect)
    nights, count = newest[::-1], len(newest)
    middles = np.array(list(_medians(nights))) - np.median(base)
    shifts = np.concatenate([[0.0], sizes, np.negative(sizes), middles])
    distances = (nights[:, None, None] - shifts[:, None] - base) / width
    density = np.log((1.0 / (1.0 + distances * distances)).sum(axis=2))
    whole = np.maximum(density[:, 1:] - density[:, :1], -_MOST_A_NIGHT)
    lengths = np.arange(1, count + 1)
    discount = noise.dependence(lengths) + lengths / len(base) * noise.dependence(len(base))
    large = np.where(np.abs(middles) > _LARGE * sizes[-1], middles, 0.0)
    plain, summed = _sums(np.minimum(whole, _MOST_A_NIGHT), large), _sums(whole, large)
    return Evidence(_mixture(plain / discount), _mixture(summed / discount), _mixture(plain))


def _medians(values: Iterable[float]) -> Iterable[float]:
    """Of the first, of the first two, and so on."""
    known: list[float] = []
    for value in values:
        bisect.insort(known, value)
        half = len(known) // 2
        yield known[half] if len(known) % 2 else 0.5 * (known[half - 1] + known[half])


def _sums(gains: Floats, shown_sizes: Floats) -> Floats:
    """Over the k newest nights; shape (way, size, k) of ``gains``, shape (night, shift). The last size is what just
    these nights show, 0 for none, and there is none of it for the other way."""
    count = len(shown_sizes)
    fixed = np.cumsum(gains[:, :-count], axis=0).T.reshape(2, -1, count)
    shown = np.triu(gains[:, -count:]).sum(axis=0)
    ways = np.stack([np.where(sign * shown_sizes > 0.0, shown, -math.inf) for sign in (1.0, -1.0)])
    return np.concatenate([fixed, ways[:, None]], axis=1)


def _mixture(evidence: Floats) -> Floats:
    """Over the sizes, the middle axis."""
    most = evidence.max(axis=1, keepdims=True)
    mixed: Floats = most[:, 0] + np.log((_WEIGHTS[:, None] * np.exp(evidence - most)).sum(axis=1))
    return mixed
