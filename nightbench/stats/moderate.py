"""Many cells with few rounds each: what they say together about how much independent starts differ."""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nightbench.figures import Estimate
from nightbench.stats.combine import Spread, combine, spread_of
from nightbench.stats.distributions import regularized_beta
from nightbench.stats.gamma import digamma, trigamma, trigamma_inverse

__all__ = ["FEWEST_UNITS", "Prior", "combine_all", "fit_prior", "moderated_spreads"]

FEWEST_UNITS = 4
"""Fewer independent units cannot tell how alike they are."""
_OWN_P = 0.05
"""A cell keeps its own interval when the others would spread as widely this seldom. A cell that is one of them
pays with a wide interval; one that is not must not borrow their calm."""
_OUTSIDER_P = 0.01
"""All cells of its unit do so, and are left out of what is typical, when it would be this seldom. Leaving out more
would make those that stay look calmer than they are."""
_LEAST_VARIANCE = 1e-5
"""Of the median: rounds that agree to the last digit have a logarithm all the same."""


@dataclass(frozen=True, slots=True)
class Prior:
    """How the spreads of all cells are spread: ``variance`` is typical, and counts as much as ``dof`` rounds
    would; infinite where the cells differ no more than chance makes them. ``known`` is the degrees of freedom
    that all units have together, beyond which nothing is known."""

    variance: float
    dof: float
    known: float

    def moderated(self, own: Spread) -> Spread:
        """The posterior of one cell's spread (Smyth 2004, section 3), with no more freedom than all data have."""
        if math.isinf(self.dof):
            return Spread(self.variance, self.known)
        total = self.dof + own.dof
        return Spread((self.dof * self.variance + own.dof * own.variance) / total, min(total, self.known))

    def chance(self, own: Spread) -> float:
        """Probability that a cell like the others spreads as widely as ``own``, by the F law of their ratio."""
        dof = min(self.dof, self.known)
        ratio = own.variance / self.variance
        return regularized_beta(dof / (dof + own.dof * ratio), dof / 2.0, own.dof / 2.0)


def combine_all(
    groups: Sequence[Sequence[Estimate]], confidence: float = 0.95, units: Sequence[Hashable] | None = None
) -> list[Estimate]:
    """`combine` for every cell of a night, each helped by the others; one group holds one cell's rounds.

    Two rounds say almost nothing about how much starts differ, yet dozens of cells ask the same question in one
    night. Each cell's variance of logarithms is drawn towards what is typical of all, as far as they turn out to
    be alike, and Student's t gets the degrees of freedom so gained: Smyth, "Linear models and empirical Bayes
    methods for assessing differential expression in microarray experiments", Stat. Appl. Genet. Mol. Biol. 3:1
    (2004). Values stay as `combine` gives them, and so does the floor from the rounds' own intervals.

    The assumption is that relative spreads of these groups come from one family: give one metric and one kind of
    load at a time. ``units`` names what each group was started as (default: every group by itself). Cells measured
    on the same starts share their luck; they count as one witness, not several.

    A wild cell must not look sure of itself because the others are. So each unit is judged by the others alone; a
    unit that spreads far too widely for them keeps its own intervals and is kept out of what is typical.

    What it costs, from `benchmarks/coverage`: of nominal 95 % intervals 95-97 % hold the truth where cells are
    alike, 91-94 % where their spreads differ by factors of 2 to 4, at a third of the width for two rounds and
    two thirds for three. A single server that spreads ten times as widely is covered 92-94 % of the time with three
    rounds and 82-87 % with two, for two of its rounds may agree by luck and pass for calm. Measure three rounds
    where that matters.

    Cells with one round, or a value that is not positive, and nights of fewer than `FEWEST_UNITS` units get what
    `combine` gives. All estimates hold intervals of the same ``confidence``.
    """
    found = moderated_spreads(groups, units)
    return [combine(rounds, confidence, spread) for rounds, spread in zip(groups, found, strict=True)]


def moderated_spreads(
    groups: Sequence[Sequence[Estimate]], units: Sequence[Hashable] | None = None
) -> list[Spread | None]:
    """What `combine_all` takes the spread of each group to be; ``None`` where it is the group's own."""
    names: Sequence[Hashable] = range(len(groups)) if units is None else units
    spreads = [spread_of(rounds) for rounds in groups]
    by_unit: dict[Hashable, list[Spread]] = {}
    for name, spread in zip(names, spreads, strict=True):
        if spread is not None:
            by_unit.setdefault(name, []).append(spread)
    usual = {name: cells for name, cells in by_unit.items() if not _outsider(name, by_unit)}
    prior = fit_prior(usual.values())
    found: list[Spread | None] = []
    for name, own in zip(names, spreads, strict=True):
        moderated = None
        if prior is not None and own is not None and name in usual and prior.chance(own) >= _OWN_P:
            moderated = prior.moderated(own)
        found.append(moderated)
    return found


def _outsider(name: Hashable, by_unit: Mapping[Hashable, Sequence[Spread]]) -> bool:
    """Whether some cell of a unit spreads too widely for all other units to be its like."""
    others = fit_prior([cells for each, cells in by_unit.items() if each != name])
    return others is not None and min(map(others.chance, by_unit[name])) < _OUTSIDER_P


def fit_prior(units: Collection[Sequence[Spread]]) -> Prior | None:
    """What is typical of the spreads of all ``units``, each with one spread a cell; ``None`` if they cannot tell.

    The logarithm of a variance estimate with d degrees of freedom has the mean log(sigma^2) + digamma(d/2) -
    log(d/2) and the variance trigamma(d/2); what scatter is beyond that is how unalike cells are (Smyth 2004,
    section 6.2). Scatter is taken between cells of different units only, half their mean squared difference: it
    is then right however strongly the cells of one unit hang together.
    """
    if len(units) < FEWEST_UNITS:
        return None
    least = _LEAST_VARIANCE * float(np.median([cell.variance for cells in units for cell in cells]))
    if least <= 0.0:
        return None
    logs = [[_log_variance(cell, least) for cell in cells] for cells in units]
    means = np.array([np.mean(unit) for unit in logs])
    squares = np.array([np.mean(np.square(unit)) for unit in logs])
    count = len(units)
    scatter = float(squares.mean()) - float(means.sum() ** 2 - (means**2).sum()) / (count * (count - 1))
    by_chance = float(np.mean([np.mean([trigamma(cell.dof / 2.0) for cell in cells]) for cells in units]))
    known = sum(max(cell.dof for cell in cells) for cells in units)
    typical = float(means.mean())
    if scatter <= by_chance:
        return Prior(math.exp(typical), math.inf, known)
    dof = 2.0 * trigamma_inverse(scatter - by_chance)
    return Prior(math.exp(typical + digamma(dof / 2.0) - math.log(dof / 2.0)), dof, known)


def _log_variance(cell: Spread, least: float) -> float:
    """An unbiased estimate of log(sigma^2)."""
    return math.log(max(cell.variance, least)) - digamma(cell.dof / 2.0) + math.log(cell.dof / 2.0)
