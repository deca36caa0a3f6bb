"""How often a machine that did not change is said to have, and how soon one that did.

`python -m benchmarks.judge.machines` prints the tables. Simulated canaries and fleets for
`nightbench.judge.environment`. Seeded: the same figures on every machine.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightbench.judge.environment import Fleet, machine_of
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.rule import suspect
from nightbench.judge.series import Direction, Point

__all__ = ["main"]

_POLICY = JudgePolicy()
_NIGHTS = [f"{night:03}" for night in range(74)]
_SIGMA, _RHO = 0.02, 0.3
_CANARIES = ("matrix_product", "memory_copy", "null_request")
_AGES = (1, 2, 3, 5, 7)


def _noise(rng: np.random.Generator) -> NDArray[np.float64]:
    """AR(1) of Student's t with four degrees of freedom."""
    shocks = rng.standard_t(4, len(_NIGHTS)) / np.sqrt(2.0)
    values = shocks.copy()
    for at in range(1, len(values)):
        values[at] = _RHO * values[at - 1] + np.sqrt(1.0 - _RHO**2) * shocks[at]
    noise: NDArray[np.float64] = _SIGMA * values
    return noise


def _points(logs: NDArray[np.float64], step: float, age: int) -> tuple[Point, ...]:
    slower = np.where(np.arange(len(logs)) >= len(logs) - age, np.log1p(step), 0.0)
    return tuple(Point(night, float(value)) for night, value in zip(_NIGHTS, np.exp(logs + slower), strict=True))


def _canaries(rng: np.random.Generator, step: float = 0.0, age: int = 0) -> bool:
    found = {(name, "cpu"): _points(_noise(rng), step, age) for name in _CANARIES}
    return machine_of(found, [], _POLICY, _NIGHTS[-1]).changed


def _fleet(rng: np.random.Generator, servers: int, slower: int, step: float = 0.0, age: int = 0) -> bool:
    """Six series a server, with noise that they share and noise of their own; ``slower`` of the servers step."""
    fleet: list[Fleet] = []
    for server in range(servers):
        shared = _noise(rng)
        for _ in range(6):
            points = _points(shared + _noise(rng), step, age if server < slower else 0)
            change = suspect(points, Direction.LOWER, _POLICY.min_effect, _POLICY)
            fleet.append(Fleet(f"server {server}", Direction.LOWER, points, change))
    return machine_of({}, fleet, _POLICY, _NIGHTS[-1]).changed


def _shares(found: Sequence[float]) -> str:
    return " ".join(f"{share:6.0%}" for share in found)


def main() -> None:
    """Print the tables."""
    rng = np.random.default_rng(3)
    print("nothing changed: nights that are called a change of the machine")
    print(f"  three canaries      {sum(_canaries(rng) for _ in range(4000))} of 4000")
    for servers in (5, 2):
        print(f"  {servers} servers           {sum(_fleet(rng, servers, 0) for _ in range(600))} of 600")
    print("slower since so many nights" + " " * 13 + " ".join(f"{age:6}" for age in _AGES))
    for step in (0.05, 0.1, 0.2):
        shares = [sum(_canaries(rng, step, age) for _ in range(200)) / 200 for age in _AGES]
        print(f"  three canaries by {step:4.0%}                {_shares(shares)}")
    for slower in (5, 2):
        for step in (0.1, 0.2):
            shares = [sum(_fleet(rng, 5, slower, step, age) for _ in range(60)) / 60 for age in _AGES]
            print(f"  {slower} of 5 servers by {step:4.0%}                {_shares(shares)}")


if __name__ == "__main__":
    main()
