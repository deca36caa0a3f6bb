"""Whether a run is worse than another one, or than its series were so far: what a merge request wants to know."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nightbench.figures import Estimate
from nightbench.judge.compare import differences, ratio_of
from nightbench.judge.discoveries import discoveries
from nightbench.judge.points import points_of_cells, series_label
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.rule import level_of, suspect
from nightbench.judge.series import Direction, Metric, NightPoint, SeriesHistory, SeriesKey
from nightbench.judge.verdict import Change, Verdict
from nightbench.record import JudgementRecord
from nightbench.summary import CellSummary, NightSummary

__all__ = ["Check", "Checked", "against_history", "against_run"]

_UNSEEN = 0.10
"""A run passes where a worsening beyond this, or beyond twice the least effect that is news, is ruled out with 95 %
confidence. "Not shown to be worse" alone would pass whatever was measured badly enough."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One series."""

    key: SeriesKey
    label: str
    verdict: Verdict
    """``OK REGRESSED IMPROVED INSUFFICIENT INVALID``."""
    before: Estimate | None = None
    after: Estimate | None = None
    ratio: Estimate | None = None
    """After over before, with its 95 % interval."""
    detail: str = ""
    alarming: bool = False
    """It looks worse by so much that it must not pass, and not so surely that it is called regressed; or it is worse
    and so is the machine."""
    lost: bool = False
    """What it is held against has a sound figure, and the run has none."""

    @property
    def judged(self) -> bool:
        return self.verdict in {Verdict.OK, Verdict.REGRESSED, Verdict.IMPROVED}

    @property
    def uncertain(self) -> bool:
        """Both are there, and do not say enough."""
        return self.verdict is Verdict.INSUFFICIENT and self.ratio is not None


@dataclass(frozen=True, slots=True)
class Check:
    """All series of a run."""

    suite: str
    run_id: str
    against: str
    """In words."""
    series: tuple[Checked, ...]

    def count(self, verdict: Verdict) -> int:
        return Counter(each.verdict for each in self.series)[verdict]

    @property
    def exit_code(self) -> int:
        """1 if anything regressed.

        Else 3 if that cannot be told: of something that could be told before, of something that looks worse, or of most
        of the run. Else 0: a few noisy series among many are shown, and fail nothing.
        """
        if self.count(Verdict.REGRESSED):
            return 1
        judged, uncertain = sum(each.judged for each in self.series), sum(each.uncertain for each in self.series)
        return 3 if judged <= uncertain or any(each.lost or each.alarming for each in self.series) else 0


def against_run(after: NightSummary, before: NightSummary, policy: JudgePolicy) -> Check:
    """Two runs, series by series, each with Welch's test on its rounds (`nightbench.judge.compare`).

    Regressed, or improved, is what changed by the policy's least effect and is a discovery among all series compared
    (`nightbench.judge.discoveries`): a check of hundreds of series must not fail because one in forty is "significantly
    worse" by chance. Where nothing changed at all, the whole check fails with at most the policy's
    ``false_discovery_rate``.
    """
    suite = after.run.suite
    found = differences(before, after, suite)
    then, now = _points(before, suite), _points(after, suite)
    rows = {key: _paired(key, then.get(key), now.get(key)) for key in {**now, **then}}
    judged = [key for key, row in rows.items() if row.judged and key in found]
    changed = discoveries([found[key].p_value for key in judged], policy.false_discovery_rate)
    for key, discovery in zip(judged, changed, strict=True):
        rows[key] = _told(rows[key], found[key].ratio, policy, changed=discovery)
    for key, row in rows.items():
        if row.judged and key not in found:
            detail = "measured on fewer than two deployments in one of the runs"
            rows[key] = replace(row, verdict=Verdict.INSUFFICIENT, detail=detail)
    return Check(suite, after.run.run_id, f"run {before.run.run_id}", _in_order(rows.values()))


def against_history(
    tonight: NightSummary,
    histories: Mapping[SeriesKey, SeriesHistory],
    judgements: Sequence[JudgementRecord],
    policy: JudgePolicy,
) -> Check:
    """A run against what its series were so far, by the rule that judges nights (`nightbench.judge.rule`).

    Where the night has been judged already, what a re-run decided stands. Else, history alone: regressed, or improved,
    is what changed by the policy's least effect, is a discovery among all series of the run, and is either firm or seen
    by tonight's own deployments as well. One night seldom is enough for that, since one bad night is like another;
    what looks much worse is then `alarming`, and does not pass either.
    """
    decided = {SeriesKey(each.suite, each.fingerprint, each.metric): each for each in judgements}
    points = _points(tonight, tonight.run.suite)
    changes = {key: _change(key, histories.get(key), policy) for key, (_, point) in points.items() if not point.doubted}
    p_values = [1.0 if change is None else change.p_value for change in changes.values()]
    unlikely = dict(zip(changes, discoveries(p_values, policy.false_discovery_rate), strict=True))
    rows = [_unmeasured(cell, tonight.run.suite) for cell in tonight.cells if not cell.rounds]
    for key, (label, point) in points.items():
        change, known = changes.get(key), decided.get(key)
        row = Checked(key, label, Verdict.OK, after=point.figure)
        row = _of_history(row, point, histories.get(key), change, policy)
        if row.judged and row.ratio is not None:
            changed = change is not None and unlikely[key] and (change.firm or _seen_tonight(change, point))
            row = _told(row, row.ratio, policy, changed=changed)
        rows.append(row if known is None or point.doubted else _decided(row, known))
    return Check(tonight.run.suite, tonight.run.run_id, "the last good nights", _in_order(rows))


def _unmeasured(cell: CellSummary, suite: str) -> Checked:
    """A planned cell without a round. What its series would be called is not known: an export may have failed."""
    metric = Metric.LATENCY_P50_NS
    detail = f"not measured: {cell.missing[0].detail}" if cell.missing else "not measured"
    key = SeriesKey(suite, cell.cell_key, metric)
    return Checked(key, series_label(cell, metric), Verdict.INVALID, detail=detail, lost=True)


def _points(night: NightSummary, suite: str) -> dict[SeriesKey, tuple[str, NightPoint]]:
    """Every series of a run with its name."""
    return {
        point.key: (series_label(cell.summary, point.key.metric), point)
        for cell in points_of_cells(night, suite)
        for point in cell.points
    }


def _paired(key: SeriesKey, before: tuple[str, NightPoint] | None, after: tuple[str, NightPoint] | None) -> Checked:
    """What can be said before any statistics."""
    label = (after or before or ("", None))[0]
    old, new = before and before[1], after and after[1]
    row = Checked(key, label, Verdict.OK, old.figure if old else None, new.figure if new else None)
    if old is None:
        return replace(row, verdict=Verdict.INSUFFICIENT, detail="not in the other run")
    if new is None:
        return replace(row, verdict=Verdict.INSUFFICIENT, detail="not measured in this run", lost=not old.doubted)
    if new.doubted:
        return replace(row, verdict=Verdict.INVALID, detail=_doubts(new), lost=not old.doubted)
    if old.doubted:
        return replace(row, verdict=Verdict.INSUFFICIENT, detail=f"of the other run: {_doubts(old)}")
    return row


def _doubts(point: NightPoint) -> str:
    return f"doubted: {', '.join(doubt.replace('_', ' ') for doubt in point.doubts)}"


def _change(key: SeriesKey, history: SeriesHistory | None, policy: JudgePolicy) -> Change | None:
    if history is None:
        return None
    metric = key.metric
    return suspect(history.points, metric.direction, policy.effect(metric), policy, history.anchor)


def _of_history(
    row: Checked, point: NightPoint, history: SeriesHistory | None, change: Change | None, policy: JudgePolicy
) -> Checked:
    """The levels before and after, and their ratio."""
    earlier = history.points[:-1] if history else ()
    level = level_of(earlier, policy)
    if point.doubted:
        return replace(row, verdict=Verdict.INVALID, detail=_doubts(point), before=level, lost=level is not None)
    if change is not None:
        ratio = ratio_of(change.before, change.after)
        return replace(row, before=change.before, after=change.after, ratio=ratio, detail=f"since {change.since}")
    if level is None:
        nights = sum(not each.doubted for each in earlier)
        detail = f"{nights} valid nights before, of {policy.min_nights} that are needed"
        return replace(row, verdict=Verdict.INSUFFICIENT, detail=detail)
    return replace(row, before=level, ratio=ratio_of(level, point.figure))


def _seen_tonight(change: Change, point: NightPoint) -> bool:
    """Whether the night's own rounds rule out that it is still at the old level."""
    return _excludes_one(ratio_of(change.before, point.figure))


def _excludes_one(ratio: Estimate) -> bool:
    return (ratio.low is not None and ratio.low > 1.0) or (ratio.high is not None and ratio.high < 1.0)


def _told(row: Checked, ratio: Estimate, policy: JudgePolicy, *, changed: bool) -> Checked:
    """The verdict on a ratio that is ``changed`` beyond chance or not."""
    metric = row.key.metric
    effect = policy.effect(metric)
    row = replace(row, ratio=ratio)
    if changed and abs(ratio.value - 1.0) >= effect:
        return replace(row, verdict=Verdict.REGRESSED if _worsening(ratio.value, metric) > 1.0 else Verdict.IMPROVED)
    worst, unseen = _worst(ratio, metric), max(_UNSEEN, 2.0 * effect)
    if worst is not None and worst <= 1.0 + unseen:
        return row
    if _worsening(ratio.value, metric) > 1.0 + unseen and _excludes_one(ratio):
        detail = "it looks worse, and may be by chance: run it again"
        return replace(row, verdict=Verdict.INSUFFICIENT, detail=detail, alarming=True)
    detail = f"too uncertain: {100 * unseen:.0f} % worse cannot be ruled out"
    return replace(row, verdict=Verdict.INSUFFICIENT, detail=detail)


def _worsening(ratio: float, metric: Metric) -> float:
    """The factor by which it got worse; below one, better."""
    return ratio if metric.direction is Direction.LOWER else 1.0 / ratio


def _worst(ratio: Estimate, metric: Metric) -> float | None:
    bound = ratio.high if metric.direction is Direction.LOWER else ratio.low
    return None if not bound else _worsening(bound, metric)


def _decided(row: Checked, known: JudgementRecord) -> Checked:
    """What the night itself said, where it knew more than history does."""
    if known.verdict is Verdict.REGRESSED:
        return replace(row, verdict=Verdict.REGRESSED, detail=known.detail or row.detail, alarming=False)
    if known.verdict is Verdict.ENVIRONMENT:
        return replace(row, verdict=Verdict.INSUFFICIENT, detail=known.detail or "the machine changed", alarming=True)
    if known.confirmation_id is not None:
        return replace(row, verdict=Verdict.OK, detail=known.detail, alarming=False)
    return row


_ORDER = (Verdict.REGRESSED, Verdict.INVALID, Verdict.INSUFFICIENT, Verdict.IMPROVED, Verdict.OK)


def _in_order(rows: Iterable[Checked]) -> tuple[Checked, ...]:
    """The worst first."""

    def rank(row: Checked) -> tuple[int, float, str]:
        size = 0.0 if row.ratio is None else -abs(row.ratio.value - 1.0)
        return _ORDER.index(row.verdict), size, row.label

    return tuple(sorted(rows, key=rank))
