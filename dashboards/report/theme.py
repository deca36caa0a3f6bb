"""The report's colours, each with its counterpart on a dark page.

Figures are drawn in the light colours; the page's script swaps them by this map where the reader prefers dark.
The series colours were searched for: they stay apart in normal, deuteranopic and protanopic sight (simulated after
Machado, Oliveira & Fernandes, 2009) and stand out from the page, which a test holds. A marker's shape always
repeats what its colour says.
"""

__all__ = ["AXIS", "GRID", "INK", "MUTED", "PAPER", "SERIES", "band", "swaps"]

INK = "#1d2228"
MUTED = "#5c6670"
GRID = "#e3e7eb"
AXIS = "#aab2ba"
PAPER = "#fffffe"

_PAGE = {INK: "#e8ecf0", MUTED: "#9ca7b2", GRID: "#2b323a", AXIS: "#56606b", PAPER: "#171b20"}

_PAIRS = {
    "#1658ba": "#03afff",  # blue
    "#e67100": "#d95202",  # orange
    "#31a780": "#28f387",  # green
    "#792c5f": "#c0058d",  # plum
    "#5a4629": "#ffdc22",  # umber, yellow on dark
    "#8395bc": "#dae0e3",  # grey-blue
    "#8c4d00": "#915949",  # brown
    "#140aba": "#3555ff",  # indigo
}

SERIES = tuple(_PAIRS)
_BAND_OPACITY = 0.16


def band(colour: str) -> str:
    """``colour`` (``#rrggbb``) thin enough to lie under other bands."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{_BAND_OPACITY})"


def swaps() -> dict[str, str]:
    """Every colour a figure may use, and its counterpart on a dark page."""
    pairs = _PAGE | _PAIRS
    return pairs | {band(light): band(dark) for light, dark in _PAIRS.items()}
