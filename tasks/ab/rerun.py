"""Pairs of trials of two sides, one after the other, until every series in question is decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nightbench.figures import Estimate
from nightbench.judge.night import Suspect
from nightbench.judge.pairs import Pair, decide, looks
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Outcome
from nightbench.record import TrialRecord
from tasks.ab.sides import Side

__all__ = ["Decided", "Try", "rerun"]

_HOPELESS = 3
"""Pairs without a figure after which no more are tried for it: what is doubted thrice is doubted always."""

Try = Callable[[Side, int, int, Sequence[Suspect]], tuple[TrialRecord, str]]
"""A side, the pair and the place within it, and what is still in question."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one suspect."""

    outcome: Outcome
    detail: str
    ratio: Estimate | None = None
    pairs: int = 0


def rerun(
    good: Side,
    tonight: Side,
    suspects: Sequence[Suspect],
    policy: JudgePolicy,
    attempt: Try,
    more: Callable[[int], bool],
) -> dict[SeriesKey, Decided]:
    """Deploy both sides in turn, ABBA. ``more`` is asked after each pair, by its number, whether there is time for
    another. A side that does not come up ends it: what is not decided by then cannot be."""
    most = looks(policy.confirm)[-1]
    pairs: dict[SeriesKey, list[Pair]] = {suspect.key: [] for suspect in suspects}
    decided: dict[SeriesKey, Decided] = {}
    whys: dict[SeriesKey, str] = {}
    for number in range(1, most + 1):
        left = [suspect for suspect in suspects if suspect.key not in decided]
        trials: dict[str, TrialRecord] = {}
        why = ""
        for place, side in enumerate((good, tonight) if number % 2 else (tonight, good)):
            trials[side.name], missing = attempt(side, number, place, left)
            why = why or missing
            if (failure := trials[side.name].failure) is not None:
                lost = Decided(Outcome.UNCONFIRMABLE, f"the side {side.name!r} did not come up: {failure}")
                return decided | {suspect.key: lost for suspect in left}
        last = number == most or not more(number)
        for suspect in left:
            key = suspect.key
            a, b = (_figure(trials[side.name], key) for side in (good, tonight))
            if a is not None and b is not None:
                pairs[key].append(Pair(a, b))
            else:
                whys[key] = why
            found = _decided(suspect, pairs[key], policy, whys.get(key, ""), number, last=last)
            if found is not None:
                decided[key] = found
        if len(decided) == len(suspects):
            break
    return decided


def _decided(
    suspect: Suspect, pairs: Sequence[Pair], policy: JudgePolicy, why: str, number: int, *, last: bool
) -> Decided | None:
    if not pairs:
        hopeless = last or number >= _HOPELESS
        return Decided(Outcome.UNCONFIRMABLE, f"no pair has both figures: {why}") if hopeless else None
    metric = suspect.key.metric
    effect = policy.effect(metric)
    decision = decide(pairs, metric.direction, effect, policy.confirm, suspect.change, last=last)
    if decision is None:
        return None
    lost = f"; {number - len(pairs)} more have not both figures: {why}" if number > len(pairs) else ""
    return Decided(decision.outcome, f"{decision.detail}{lost}", decision.ratio, len(pairs))


def _figure(record: TrialRecord, key: SeriesKey) -> float | None:
    return record.figures.get(key.fingerprint, {}).get(key.metric)
