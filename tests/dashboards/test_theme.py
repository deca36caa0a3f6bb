"""Colours: distinct to every reader, on a light page and on a dark one."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from dashboards.report.theme import PAPER, SERIES, band, swaps

# Machado, Oliveira & Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009;
# severity 1.0, on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
PAGES = {"light": (PAPER, list(SERIES)), "dark": (swaps()[PAPER], [swaps()[colour] for colour in SERIES])}


def _linear(colour: str) -> NDArray[np.float64]:
    share = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB under D65."""
    x, y, z = np.cbrt(np.clip(_XYZ @ np.clip(linear, 0, 1) / [0.95047, 1, 1.08883], 1e-9, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("page", PAGES)
def test_the_first_six_colours_stay_apart_in_every_sight(page: str, sight: str) -> None:
    seen = [_lab(SIGHTS[sight] @ _linear(colour)) for colour in PAGES[page][1][:6]]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 25


@pytest.mark.parametrize("page", PAGES)
def test_every_colour_stands_out_from_the_page(page: str) -> None:
    """WCAG 2.2, 1.4.11: graphics need a contrast of at least 3 : 1."""
    paper, colours = PAGES[page]
    for colour in colours:
        darker, lighter = sorted(float(_XYZ[1] @ _linear(each)) for each in (paper, colour))
        assert (lighter + 0.05) / (darker + 0.05) >= 2.99


def test_dark_colours_are_not_swapped_again() -> None:
    assert not set(swaps().values()) & set(swaps())


def test_a_band_is_the_same_colour_but_thin() -> None:
    assert band("#1658ba") == "rgba(22,88,186,0.16)"
