"""Stage: where each series stepped, over the whole of its history, for the annotations of dashboards."""

import json
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dashboards.otava import LOCATE, OTAVA
from launch.environment import ensure_environment
from nightbench.errors import NightbenchError
from nightbench.judge.series import ChangePoint, Point, SeriesKey
from nightbench.stopping import Stopped
from tasks.session import Cancelled, Session

__all__ = ["Step", "locate", "locate_changes", "steps"]

Step = tuple[int, float, float, float]
"""Index of the first value at the new level, the levels before and after, and a p-value."""

_AT_ONCE = 200
"""Series given to one process: seconds of work, after which it may be asked to stop."""
_TIMEOUT_S = 600.0


def locate_changes(session: Session) -> int:
    """Locate the steps of every series of the session's suite, and keep them; how many there are.

    Dashboards can do without: what is in the way is noted, and the night goes on. Raises `tasks.session.Cancelled`.
    """
    if session.store is None:
        return 0
    try:
        series = _long_enough(session.store.whole_series(session.suite.name), session.suite.judge.min_nights)
        if not series:
            return 0
        session.progress.doing("locating change points")
        python = ensure_environment(
            OTAVA,
            root=session.settings.server_environments,
            mode=session.settings.environments,
            on_event=session.progress.doing,
            log=session.folder / "logs" / "environment-otava.log",
            should_stop=session.should_stop,
        ).python
        keys = sorted(series)
        least, count = session.suite.judge.effect, 0
        for first in range(0, len(keys), _AT_ONCE):
            session.check_stop()
            batch = keys[first : first + _AT_ONCE]
            found = locate(python, [series[key] for key in batch], [least(key.metric) for key in batch])
            session.store.put_changes(dict(zip(batch, found, strict=True)))
            count += sum(map(len, found))
    except Stopped as stopped:
        raise session.cancelled() from stopped
    except Cancelled:
        raise
    except NightbenchError as error:
        session.progress.note(f"no change points located: {error}")
        return 0
    return count


def _long_enough(series: Mapping[SeriesKey, Sequence[Point]], nights: int) -> dict[SeriesKey, Sequence[Point]]:
    """What the judge looks at, too: of fewer nights nothing is located."""
    return {key: points for key, points in series.items() if len(points) > nights}


def locate(python: Path, series: Sequence[Sequence[Point]], least: Sequence[float]) -> list[list[ChangePoint]]:
    """Where each series steps by its least relative change or more. Doubted nights, and values that are not positive,
    take no part. Raises as `steps`."""
    known = [[point for point in points if _valid(point)] for points in series]
    found = steps(python, [[point.value for point in points] for points in known], least)
    return [
        [ChangePoint(points[index].night, *rest) for index, *rest in of_one]
        for points, of_one in zip(known, found, strict=True)
    ]


def steps(python: Path, rows: Sequence[Sequence[float]], least: Sequence[float]) -> list[list[Step]]:
    """What Otava finds in each row, run by ``python``, the interpreter of `dashboards.otava.OTAVA`'s environment.

    `NightbenchError` if it fails.
    """
    asked = json.dumps([{"values": list(row), "least": each} for row, each in zip(rows, least, strict=True)])
    # None of our settings, which hold secrets; and one thread: the machine may be measuring.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTBENCH_")}
    try:
        done = subprocess.run(
            (str(python), "-I", str(LOCATE)),
            input=asked,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NightbenchError(f"Otava: {error}") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise NightbenchError(f"Otava ended with exit code {done.returncode}: {last[0]}")
    try:
        found = json.loads(done.stdout)
        return [[(int(index), float(was), float(now), float(p)) for index, was, now, p in row] for row in found]
    except (ValueError, TypeError) as error:
        raise NightbenchError(f"Otava answered what is not understood: {error}") from error


def _valid(point: Point) -> bool:
    return not point.doubted and math.isfinite(point.value) and point.value > 0.0
