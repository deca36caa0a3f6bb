"""Noise of real continuous integration: mountpoint-s3's published benchmarks, 69 series of 400 to 1150 commits.

The file (Apache-2.0, awslabs/mountpoint-s3, branch gh-pages) is not part of this repository. Without it the real rows
are left out, and the tables say so.

**What is noise.** Nobody labelled the true shifts, and there are many. A series' logarithms less their running median
over 15 commits are taken for its noise. The median follows a level that lasts for eight commits or more, at once and
wherever it goes, so shifts and slow drift are out; whatever lasts seven or fewer stays, though some of it surely was
true and was mended: that counts against every rule. A wider window would leave true regressions of weeks in what is
called stationary, a narrower one would eat the dependence between neighbours, which is what makes real noise hard.
For independent values the window takes 3 % of the variance and leaves neighbours a correlation of -0.04.

**How it is drawn.** Each simulated series is of one real series, which lends its scale, its outliers and its
dependence: blocks of 20 consecutive commits from anywhere in it, end to end (the moving-block bootstrap of Künsch,
Annals of Statistics 17, 1989). The blocks keep nineteen in twenty pairs of neighbours together.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.noise import Noise
from nightbench.errors import UsageError

__all__ = ["DEFAULT_PATH", "HARD_SIGMA", "Source", "bootstrap", "noises", "read", "residuals", "wandering"]

DEFAULT_PATH = Path(__file__).parents[2].parent / "shared" / "data" / "mountpoint-ci.json"
_LEVEL_WIDTH = 15
_WIDE = 31
_BLOCK = 20
_FEWEST = 200

HARD_SIGMA = 0.06
"""Of the logarithm, from the median absolute deviation. The mean of seven nights has a standard error of
sigma / sqrt 7. To ring for one stationary night in a thousand it must lie 3.3 of those off, and to do so nine times in
ten the truth must lie 1.3 more: log 1.1 = 4.6 sigma / sqrt 7 gives 5.5 %. So noisier series cannot show a 10 % step in
a week to any rule that is quiet enough, and are counted apart."""


@dataclass(frozen=True, slots=True)
class Source:
    """The noise of one real series, as logarithms."""

    name: str
    residuals: NDArray[np.float64]

    @property
    def sigma(self) -> float:
        """Robust: 1.4826 times the median absolute deviation."""
        return float(1.4826 * np.median(np.abs(self.residuals - np.median(self.residuals))))


def read(path: Path, width: int = _LEVEL_WIDTH) -> list[Source]:
    """The noise of every long enough series in the file; `UsageError` if it cannot be read."""
    try:
        found = json.loads(path.read_text())["series"]
        rows = {
            name: np.asarray([value for value in each["values"] if value is not None], dtype=np.float64)
            for name, each in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--real: {path}: cannot be read: {error}; give the path of mountpoint-ci.json") from error
    # Zeros among the memory figures are commits that measured nothing.
    kept = ((name, values[np.isfinite(values) & (values > 0.0)]) for name, values in rows.items())
    return [Source(name, residuals(np.log(values), width)) for name, values in kept if len(values) >= _FEWEST]


def residuals(logs: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """What is left without the running median of ``width`` values, which is odd; the ends, where it cannot be
    centred, are left out."""
    return logs[width // 2 : -(width // 2)] - np.median(np.lib.stride_tricks.sliding_window_view(logs, width), axis=1)


def bootstrap(sources: Sequence[Source], rng: np.random.Generator, series: int, nights: int) -> NDArray[np.float64]:
    """Factors, shape (series, nights). The sources take turns, so that each has its share."""
    blocks = -(-nights // _BLOCK)
    rows = np.empty((series, blocks * _BLOCK))
    for row, number in zip(rows, rng.permutation(series), strict=True):
        noise = sources[number % len(sources)].residuals
        starts = rng.integers(0, len(noise) - _BLOCK + 1, blocks)
        row[:] = noise[starts[:, None] + np.arange(_BLOCK)].ravel()
    return np.exp(rows[:, :nights])


def noises(sources: Sequence[Source]) -> tuple[Noise, ...]:
    """All of them; every second one, on which no threshold of ours was chosen; and those in which a 10 % step can be
    seen in a week (`HARD_SIGMA`)."""
    held_out = sources[1::2]
    quiet = [source for source in sources if source.sigma <= HARD_SIGMA]
    return (
        Noise(f"real CI, all {len(sources)}", lambda rng, series, nights: bootstrap(sources, rng, series, nights)),
        Noise(
            f"real CI, {len(held_out)} held out",
            lambda rng, series, nights: bootstrap(held_out, rng, series, nights),
        ),
        Noise(
            f"real CI, {len(quiet)} of sigma <= {HARD_SIGMA:.0%}",
            lambda rng, series, nights: bootstrap(quiet, rng, series, nights),
        ),
    )


def wandering(path: Path) -> Noise:
    """All of them less the median of 31 commits: with spells of up to fifteen, many of them true regressions for sure,
    counted as noise. How much the choice matters, and no bar."""
    sources = read(path, _WIDE)
    return Noise(
        f"real CI, spells <= {_WIDE // 2} kept", lambda rng, series, nights: bootstrap(sources, rng, series, nights)
    )
