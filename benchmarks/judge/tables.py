"""The tables, a line at a time, as they are measured."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import machine
from benchmarks.judge import confirmed, cost, counting, discovery
from benchmarks.judge.counting import WITHIN, Rule, Steps
from benchmarks.judge.noise import Noise
from benchmarks.judge.rerun import PAIR_SIGMA, PAIR_SIGMA_BUSY

__all__ = ["Scale", "confirmation", "costs", "discoveries", "history"]

_SIZES = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    series: int
    """Of each noise, for the rules."""
    fleet: int
    """Series of a fleet, for the two tiers."""
    fleets: int
    nights: int
    """Single nights of `NIGHT_SERIES`."""
    otava: int
    """Series for Otava, which takes milliseconds a look."""


NIGHT_SERIES, NIGHT_STEPS = 2000, 20


def history(rules: Sequence[Rule], noises: Sequence[Noise], scale: Scale, seed: int) -> Iterator[str]:
    within = ", ".join(map(str, WITHIN))
    yield "History alone: alarms per 1000 stationary series-nights, either way and upwards only, with 95 % intervals;"
    yield f"steps found within {within} nights, in per cent, and after how many nights the median one"
    yield f"{'':40} {'either way':>20} {'upwards':>20}  " + "  ".join(f"{f'{size:.0%} step':>22}" for size in _SIZES)
    for noise in noises:
        yield noise.name
        for rule in rules:
            found = counting.measure(rule, noise, seed, scale.series, _SIZES)
            steps = "  ".join(_steps(found.steps[size]) for size in _SIZES)
            yield f"  {rule.name:38} {found.false.per_1000():>20} {found.worse.per_1000():>20}  {steps}"
        young = counting.young(rules[0], noise, seed, scale.series)
        yield f"  {f'{rules[0].name}, nights 11-40':38} {young.per_1000():>20}"


def _steps(steps: Steps) -> str:
    shares = " ".join(f"{100.0 * steps.by[within].value:3.0f}" for within in WITHIN)
    return f"{shares} {f'({steps.median:g})' if steps.median else '(-)':>6}"


def confirmation(noises: Sequence[Noise], scale: Scale, seed: int) -> Iterator[str]:
    yield "With a re-run: false alerts per 1000 stationary series-nights, confirmed ones and ones left unconfirmed;"
    yield "steps confirmed by such a night; re-runs of stationary series per 1000; time of all re-runs as a share of"
    yield "the night's, mean and largest; suspicions for which there was none"
    yield (
        f"{'':34} {'false':>18} {'unconfirmed':>18} {'10 % by 1':>15} {'by 2':>15} {'by 3':>15} {'5 % by 7':>15} "
        f"{'20 % by 2':>15} {'re-runs':>8} {'time':>6} {'most':>6} {'waited':>7}"
    )
    rows = [(noise, PAIR_SIGMA, "") for noise in noises]
    rows += [(noises[0], PAIR_SIGMA_BUSY, ", busy machine"), (noises[-1], PAIR_SIGMA_BUSY, ", busy machine")]
    for noise, sigma, what in rows:
        each = confirmed.run(noise, seed, scale.fleets, scale.fleet, sigma)
        by = (each.by(0.1, 1), each.by(0.1, 2), each.by(0.1, 3), each.by(0.05, 7), each.by(0.2, 2))
        yield (
            f"{noise.name + what:34} {each.false_share.per_1000():>18} {each.unconfirmed_share.per_1000():>18} "
            + " ".join(f"{share.percent():>15}" for share in by)
            + f" {1e3 * each.rerun / each.stationary_nights:8.2f}"
            + f" {statistics.mean(each.cost):6.1%} {max(each.cost):6.1%} {each.waited:7}"
        )


def discoveries(noises: Sequence[Noise], scale: Scale, seed: int) -> Iterator[str]:
    ages = ", ".join(map(str, discovery.AGES))
    yield f"One night of {NIGHT_SERIES} series, {NIGHT_STEPS} of them 10 % worse for {ages} nights: the share of what"
    yield f"is alerted that is false, and the share of the steps that is alerted, over {scale.nights} nights"
    for noise in noises:
        yield noise.name
        found = discovery.run(noise, seed, scale.nights, NIGHT_SERIES, NIGHT_STEPS, PAIR_SIGMA)
        for method in discovery.METHODS:
            by_age = (found[age][method] for age in discovery.AGES)
            cells = (f"{each.falsehood.percent():>16}, {each.power.percent():14}" for each in by_age)
            yield f"  {method:20} " + " | ".join(cells)


def costs(noise: Noise, seed: int) -> Iterator[str]:
    took = cost.decision_ms(noise, seed, 1000)
    p99 = statistics.quantiles(took, n=100)[-1]
    yield f"A decision over {cost.NIGHTS} nights: median {statistics.median(took):.2f} ms, 99 % within {p99:.2f} ms"
    yield f"  median {machine.verdict(statistics.median(took), 1.0, ' ms')}"
    nights = list(cost.night_s(noise, seed, NIGHT_SERIES))
    yield f"A night of {NIGHT_SERIES} series, without the database: {machine.spread(nights, 2)} s"
    yield f"  {machine.verdict(statistics.median(nights), 5.0, ' s')}"
