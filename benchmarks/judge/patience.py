"""How often a test of a bisection can tell, with a night's pairs and with its own.

`python -m benchmarks.judge.patience` prints the table. Simulated: pairs of fresh deployments whose ratio scatters by so
much, of a mixture that is 10 % worse, as history claims, and of one that is not. Seeded: the same on every machine.
"""

from collections import Counter

import numpy as np

from nightbench.figures import Estimate
from nightbench.judge.pairs import Pair, decide
from nightbench.judge.policy import ConfirmPolicy, JudgePolicy
from nightbench.judge.series import Direction
from nightbench.judge.verdict import Change, Outcome
from tasks.ab.bisect import patient

__all__ = ["main"]

_STEP = 0.1
_REPEATS = 1000
_CLAIMED = Change("n1", "n0", 1, Estimate(1.0, 0.97, 1.03), Estimate(1.1, 1.05, 1.15), 1e-4, firm=True)


def _tested(rng: np.random.Generator, scatter: float, step: float, policy: ConfirmPolicy) -> tuple[Outcome, int]:
    pairs: list[Pair] = []
    while True:
        pairs.append(Pair(1.0, float(np.exp(np.log1p(step) + scatter * rng.standard_normal()))))
        last = len(pairs) >= policy.max_pairs
        decision = decide(pairs, Direction.LOWER, JudgePolicy().min_effect, policy, _CLAIMED, last=last)
        if decision is not None:
            return decision.outcome, len(pairs)


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(20261120)
    print("scatter  pairs    mixture   confirmed  refuted  cannot tell  pairs taken")
    for scatter in (0.03, 0.06, 0.12):
        for name, policy in (("night", JudgePolicy()), ("bisect", patient(JudgePolicy()))):
            for step in (_STEP, 0.0):
                tests = [_tested(rng, scatter, step, policy.confirm) for _ in range(_REPEATS)]
                outcomes = Counter(outcome for outcome, _ in tests)
                shares = [
                    outcomes[outcome] / _REPEATS
                    for outcome in (Outcome.CONFIRMED, Outcome.REFUTED, Outcome.UNCONFIRMABLE)
                ]
                pairs = sum(count for _, count in tests) / _REPEATS
                told = "  ".join(f"{share:>9.1%}" for share in shares)
                print(f"{scatter:>7.0%}  {name:<7}  {step:>+7.0%}   {told}  {pairs:>11.1f}")


if __name__ == "__main__":
    main()
