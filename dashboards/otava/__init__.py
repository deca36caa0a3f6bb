"""Where a series' level shifted, over its whole history, as Apache Otava sees it: for the annotations of dashboards.

Nothing here raises an alert. Otava's divisive search with t-tests (Fleming et al., "Hunter: Using Change Point
Detection to Hunt for Performance Regressions", ICPE 2023, after Matteson and James 2014) locates steps well once nights
lie on both sides of them, and rings too often for nothing on the last night (`benchmarks.judge` has the figures).

The folder holds the pinned ``requirements.txt`` of an environment of its own (`launch.environment`) and ``locate.py``,
which runs there and imports nothing of nightbench.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOCATE", "OTAVA", "OtavaEnvironment"]


@dataclass(frozen=True, slots=True)
class OtavaEnvironment:
    """What `launch.environment.ensure_environment` builds."""

    name: str
    folder: Path
    distribution: str

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"


_FOLDER = Path(__file__).parent

OTAVA = OtavaEnvironment("otava", _FOLDER, "apache-otava")
LOCATE = _FOLDER / "locate.py"
