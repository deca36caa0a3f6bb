"""Apache Otava in its own environment, as `tasks.changes` has it built and asks it."""

import math
from pathlib import Path

import numpy as np

from dashboards.otava import OTAVA
from launch.environment import ensure_environment
from nightbench.judge.series import Point
from nightbench.settings import Settings
from tasks.changes import locate


def test_locates_planted_steps(tmp_path: Path) -> None:
    root = Settings.from_environment().server_environments
    environment = ensure_environment(OTAVA, root, "pinned", print, tmp_path / "environment.log")
    assert environment.version == "0.8.0"
    noise = np.exp(0.01 * np.random.default_rng(8).standard_normal((3, 120)))
    noise[1, 60:] *= 0.9
    noise[2, 30:] *= 1.2
    noise[2, 90:] *= 0.9
    series = [[Point(f"n{night}", value) for night, value in enumerate(row)] for row in noise.tolist()]
    none, one, two = locate(environment.python, series, [0.03] * 3)
    assert none == []
    assert [point.night for point in one] == ["n60"]
    assert math.isclose(one[0].after / one[0].before, 0.9, abs_tol=0.01)
    assert one[0].p_value < 1e-6
    assert [point.night for point in two] == ["n30", "n90"]
    assert locate(environment.python, [series[1]], [0.15]) == [[]]
