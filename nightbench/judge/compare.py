"""One run against another: how much each series differs, and how sure that is."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from nightbench.figures import Estimate
from nightbench.judge.metrics import figure_in
from nightbench.judge.points import points_of_cells, sound_rounds
from nightbench.judge.series import SeriesKey
from nightbench.rounds import setup_of
from nightbench.stats.combine import Spread, combine, spread_of
from nightbench.stats.distributions import regularized_beta, student_t_quantile
from nightbench.stats.moderate import moderated_spreads
from nightbench.summary import NightSummary

__all__ = ["Difference", "differences", "ratio_of", "welch"]

_T95 = 0.975


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one figure between two runs."""

    ratio: Estimate
    """After over before."""
    p_value: float
    """Two-sided, against no difference at all."""


def ratio_of(before: Estimate, after: Estimate) -> Estimate:
    """``after`` over ``before`` where nothing is known of either but its interval.

    The method of variance estimates recovery on the logarithms: Zou & Donner, "Construction of confidence limits about
    effect measures: a general approach", Statistics in Medicine 27 (2008), equation 3, with ``before`` and ``after``
    independent. Distances to the bounds are recovered side by side, so skewed intervals stay skewed. Both intervals are
    of one confidence, and so is the ratio's. A bound that is missing leaves the ratio's open on that side.
    """
    ratio = after.value / before.value
    low = _away(after.value, after.low, before.value, before.high)
    high = _away(after.value, after.high, before.value, before.low)
    return Estimate(ratio, None if low is None else ratio / low, None if high is None else ratio * high)


def _away(one: float, its_bound: float | None, other: float, other_bound: float | None) -> float | None:
    """The factor from the ratio to its bound."""
    if not its_bound or not other_bound:
        return None
    return math.exp(math.hypot(math.log(its_bound / one), math.log(other_bound / other)))


def differences(before: NightSummary, after: NightSummary, suite: str) -> dict[SeriesKey, Difference]:
    """Of every series that both runs measured on two deployments or more, named as of ``suite``.

    Two or three rounds say little about how much starts differ, but all the cells of both runs ask the same question:
    they lend each other what they know of it, as those of one night do (`nightbench.stats.moderate`).
    """
    sides = [_rounds(before, suite, "before"), _rounds(after, suite, "after")]
    families: dict[Hashable, list[_Rounds]] = {}
    for side in sides:
        for rounds in side.values():
            families.setdefault(rounds.family, []).append(rounds)
    spreads: dict[int, Spread | None] = {}
    for family in families.values():
        lent = moderated_spreads([each.figures for each in family], [each.unit for each in family])
        spreads |= {id(each): known or spread_of(each.figures) for each, known in zip(family, lent, strict=True)}
    found = {}
    for key, one in sides[0].items():
        other = sides[1].get(key)
        if other is not None and (one_spread := spreads[id(one)]) and (other_spread := spreads[id(other)]):
            found[key] = welch(one.figures, other.figures, one_spread, other_spread)
    return found


@dataclass(frozen=True, slots=True)
class _Rounds:
    """One series in one run: its figure in each round."""

    figures: Sequence[Estimate]
    family: Hashable
    """Series whose deployments may spread alike."""
    unit: Hashable
    """What was started afresh for each round."""


def _rounds(night: NightSummary, suite: str, side: str) -> dict[SeriesKey, _Rounds]:
    """Series with a positive figure in every sound round, and two such rounds or more."""
    found = {}
    for cell in points_of_cells(night, suite):
        for point in cell.points:
            metric = point.key.metric
            sound = sound_rounds(cell.summary, metric) or cell.summary.measurements
            figures = [each for record in sound if (each := figure_in(record, metric)) is not None]
            if len(figures) == len(sound) >= 2:
                family = metric, type(cell.case.load).__name__
                found[point.key] = _Rounds(figures, family, (side, setup_of(cell.case)))
    return found


def welch(
    before: Sequence[Estimate], after: Sequence[Estimate], before_spread: Spread, after_spread: Spread
) -> Difference:
    """The ratio of two means over independent deployments, on logarithms, whose spreads need not be equal.

    Welch, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34 (1947), with Satterthwaite's degrees of freedom. A side's standard error is that of its interval by
    `nightbench.stats.combine.combine`, so that rounds that agree by luck do not look exact here either: no side is
    surer of itself than its rounds' own intervals are.

    Both sides have two rounds or more, of positive values.
    """
    old, new = combine(before, spread=before_spread), combine(after, spread=after_spread)
    old_square = _standard_error(old, before_spread.dof) ** 2
    new_square = _standard_error(new, after_spread.dof) ** 2
    total, ratio = old_square + new_square, new.value / old.value
    shift = math.log(ratio)
    if total == 0.0:
        return Difference(Estimate(ratio, ratio, ratio), 1.0 if shift == 0.0 else 0.0)
    dof = total**2 / (old_square**2 / before_spread.dof + new_square**2 / after_spread.dof)
    half = student_t_quantile(_T95, dof) * math.sqrt(total)
    p_value = regularized_beta(dof / (dof + shift**2 / total), dof / 2.0, 0.5)
    return Difference(Estimate(ratio, math.exp(shift - half), math.exp(shift + half)), p_value)


def _standard_error(estimate: Estimate, dof: float) -> float:
    if not estimate.low or not estimate.high:
        return 0.0
    return 0.5 * math.log(estimate.high / estimate.low) / student_t_quantile(_T95, dof)
