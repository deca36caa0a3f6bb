"""Are the judge's alerts true, and are they in time? `python -m benchmarks.judge` prints the tables.

Seeded: but for the times, the same figures on every machine. Rules of others stand beside ours, counted alike.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.judge import real, tables
from benchmarks.judge.counting import Rule
from benchmarks.judge.noise import SYNTHETIC, Noise
from benchmarks.judge.ours import History
from benchmarks.judge.rivals.cusum import CUSUM
from benchmarks.judge.rivals.mann_whitney import MANN_WHITNEY
from benchmarks.judge.rivals.medians import LAST_SEVEN, PYTORCH_HUD
from benchmarks.judge.rivals.otava import Otava
from benchmarks.judge.rivals.perfherder import PERFHERDER
from benchmarks.judge.tables import Scale
from dashboards.otava import OTAVA
from launch.environment import ensure_environment
from nightbench.errors import NightbenchError
from nightbench.settings import Settings

_FULL = Scale(series=690, fleet=1998, fleets=2, nights=40, otava=138)
_QUICK = Scale(series=138, fleet=504, fleets=1, nights=4, otava=46)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes instead of an hour, and wider intervals")
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument(
        "--real", type=Path, default=None, help=f"mountpoint-ci.json (default: {real.DEFAULT_PATH}, if it is there)"
    )
    parser.add_argument("--table", choices=("history", "confirmation", "discoveries", "cost"), help="this one only")
    asked = parser.parse_args()
    for line in machine.describe(machine.Cpus(None, None)):
        print(line)
    try:
        noises, hardest = _noises(asked.real)
    except NightbenchError as error:
        print(f"benchmarks.judge: {error}", file=sys.stderr)
        return error.exit_code
    scale = _QUICK if asked.quick else _FULL
    rows: dict[str, Callable[[], Iterator[str]]] = {
        "history": lambda: tables.history(_rules(scale), noises, scale, asked.seed),
        "confirmation": lambda: tables.confirmation(noises, scale, asked.seed),
        "discoveries": lambda: tables.discoveries(hardest, scale, asked.seed),
        "cost": lambda: tables.costs(hardest[-1], asked.seed),
    }
    for name in [asked.table] if asked.table else rows:
        print()
        for line in rows[name]():
            print(line, flush=True)
    print(f"\nload average at the end {machine.load_average()}")
    return 0


def _noises(path: Path | None) -> tuple[tuple[Noise, ...], tuple[Noise, ...]]:
    """All of them, and those that the last tables are about: the real ones, where there are any."""
    if path is None and not real.DEFAULT_PATH.is_file():
        print(f"absent: real series: no {real.DEFAULT_PATH}; the real rows are left out")
        return SYNTHETIC, SYNTHETIC[1:2]
    sources = real.read(path or real.DEFAULT_PATH)
    hard = sorted((each for each in sources if each.sigma > real.HARD_SIGMA), key=lambda each: -each.sigma)
    print(f"real series: {len(sources)}; too noisy to show a 10 % step in a week, of sigma > {real.HARD_SIGMA:.0%}:")
    print("; ".join(f"{each.name.split('|')[0]} {each.name.split('|')[1]} {each.sigma:.0%}" for each in hard))
    found = real.noises(sources)
    return (*SYNTHETIC, *found, real.wandering(path or real.DEFAULT_PATH)), found


def _rules(scale: Scale) -> list[Rule]:
    rules: list[Rule] = [History(), CUSUM, MANN_WHITNEY, PERFHERDER, PYTORCH_HUD, LAST_SEVEN]
    settings = Settings.from_environment()
    log = settings.cache / "benchmarks" / "environment-otava.log"
    try:
        built = ensure_environment(OTAVA, settings.server_environments, settings.environments, print, log)
    except NightbenchError as error:
        print(f"absent: Otava: {error}")
        return rules
    return [*rules, Otava(f"Apache Otava {built.version}", built.python, 0.0, scale.otava)]


if __name__ == "__main__":
    raise SystemExit(main())
