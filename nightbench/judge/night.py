"""One night judged as a whole, before any re-run: which series changed, and which of those a re-run shall decide.

**What is controlled, and how.** A night judges thousands of series, so "1 in 1000" is several a night.

- What is alerted after a re-run needs no further correction: the re-run's own error, `ConfirmPolicy.false_confirm_p`,
  counts only for the few series that get there. Of 2,000 series without a change some 20 do (``watch_p``, behind the
  effect gate), so 0.1 false confirmations a night are to be expected, against all the true ones.
- What is alerted *without* a re-run, because none could decide, has only history to stand on. It must be firm, which
  1 of 1000 series is by chance, and a discovery of Benjamini and Yekutieli among all that were judged tonight, behind
  the effect gate: of such alerts at most ``false_discovery_rate`` are false, whatever the series' dependence.
- **Suspicion is a cell's.** What slows a server down moves throughput, p50 and p99 of a cell together, and a
  deployment that measures one of them measures all. So each series adds p^-1/2 to the evidence of its cell. Up to a
  factor that is an e-value, and a mean of e-values is one whatever their dependence (Vovk & Wang, Annals of Statistics
  49, 2021): two series that say one thing are not two witnesses, as a product of p-values would have it. A cell is
  re-run once its evidence is that of one series at ``watch_p``; time goes to the setups with the most for their cost.
- A series that must wait for a re-run, or is no discovery, stays `Verdict.SUSPECTED`: shown, and nobody is woken.

**Improvements** are not re-run. One that is firm, a discovery, and `SETTLED_NIGHTS` old becomes the baseline, so that
its loss is seen; were it none, the next "regression" would go to a re-run like any other, and be refuted there.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nightbench.figures import Estimate
from nightbench.judge.discoveries import discoveries
from nightbench.judge.environment import NEWS_NIGHTS, Machine, slowdown
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.rule import level_of, suspect
from nightbench.judge.series import Direction, Point, Predecessor, SeriesHistory, SeriesKey
from nightbench.judge.verdict import Change, Verdict
from nightbench.plan import Cell, Setup
from nightbench.record import JudgementRecord

__all__ = [
    "SETTLED_NIGHTS",
    "UNDECIDED",
    "NightSeries",
    "Seen",
    "Suspect",
    "changes_of",
    "decided_before",
    "look",
    "same_change",
    "suspect_of",
    "suspects_of",
]

SETTLED_NIGHTS = NEWS_NIGHTS
"""Valid nights at the new level before it may become the baseline where no re-run confirmed it. One bad night must not
start all series anew, which leaves them unjudged for ``min_nights``."""
_LARGER = 1.25
"""By this factor a change that was decided before must have grown to be decided again."""
UNDECIDED = "no re-run could decide it"
"""Begins the detail of a judgement whose re-run measured pairs and came to nothing."""
_SURER = 10.0
"""By this factor the p-value of an undecided change must have fallen, for a re-run that ended so to be made again."""
_HINT = 10.0
"""Times ``watch_p``: a series less sure than that adds nothing to what the others of its cell say."""
_LEAST_P = 1e-6
_SHARED_NIGHTS = 3
"""By so many valid nights a last good night may lie before a suspect's own, for its setup to be deployed once."""
_RELAPSE_NIGHTS = 2
_SAME_NIGHTS = 2
"""By so many valid nights the place of one change may differ from night to night, as more of it is seen."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A series that a re-run shall decide."""

    key: SeriesKey
    label: str
    """The series in words."""
    cell: Cell
    """What to measure; its round says nothing."""
    change: Change
    good_run_id: str
    """The last good night."""
    predecessor: str | None = None
    """The fingerprint that the series had on that night, where the artifact or the options were others."""


@dataclass(frozen=True, slots=True)
class NightSeries:
    """One series tonight, with all that is known of it."""

    key: SeriesKey
    label: str
    cell: Cell
    figure: Estimate
    doubts: tuple[str, ...]
    history: SeriesHistory
    """Tonight's point is its last."""
    predecessor: Predecessor | None = None
    """Of a series that is young: the one whose place it took."""

    @property
    def server(self) -> str:
        return self.cell.setup.server

    @property
    def model(self) -> str:
        return self.cell.setup.export.model

    @property
    def tonight(self) -> str:
        return self.history.points[-1].night

    @property
    def valid(self) -> tuple[Point, ...]:
        return tuple(point for point in self.history.points if not point.doubted)


@dataclass(frozen=True, slots=True)
class Seen:
    """What history says of one series tonight."""

    series: NightSeries
    verdict: Verdict
    """What it is if no re-run says otherwise."""
    detail: str = ""
    change: Change | None = None
    rerun: bool = False
    """Whether a re-run shall decide it."""
    discovery: bool = False
    """Whether history alone is enough, all series of the night considered."""
    explained: bool = False
    """Whether the machine's own change explains it."""
    before: JudgementRecord | None = None
    """Of an earlier night, where this very change was decided then."""

    @property
    def worse(self) -> bool:
        return self.change is not None and self.change.worse(self.series.key.metric.direction)


def changes_of(series: Sequence[NightSeries], policy: JudgePolicy) -> dict[SeriesKey, Change]:
    """What each series' own history says of tonight; those that say nothing, or are doubted, are left out.

    Of changes towards worse less sure than ``watch_p``, those are kept whose cells have evidence enough together.
    """
    watch_p = policy.confirm.watch_p
    found: dict[SeriesKey, Change] = {}
    cells: defaultdict[tuple[str, str], dict[SeriesKey, Change]] = defaultdict(dict)
    for each in series:
        metric = each.key.metric
        change = None
        if not each.doubts:
            points, effect, anchor = each.history.points, policy.effect(metric), each.history.anchor
            change = suspect(points, metric.direction, effect, policy, anchor, min(_HINT * watch_p, 0.5))
            change = change or _relapse(each, policy)
        if change is None:
            continue
        if change.firm or change.p_value <= watch_p:
            found[each.key] = change
        if change.worse(metric.direction):
            cells[_cell(each.key)][each.key] = change
    for worse in cells.values():
        if sum(map(_evidence, worse.values())) >= 1.0 / math.sqrt(watch_p):
            found |= worse
    return found


def _cell(key: SeriesKey) -> tuple[str, str]:
    return key.suite, key.fingerprint


def _evidence(change: Change) -> float:
    return 1.0 / math.sqrt(max(change.p_value, _LEAST_P))


def look(
    series: Sequence[NightSeries],
    changes: Mapping[SeriesKey, Change],
    policy: JudgePolicy,
    machine: Machine,
    past: Mapping[SeriesKey, JudgementRecord],
    held: Collection[SeriesKey] = frozenset(),
) -> list[Seen]:
    """Judge every series, then all of them together; in the order given.

    ``changes`` are those of `changes_of`, ``past`` is what `decided_before` says. ``held`` are members of alerts that
    live: of those it is known what they are (`nightbench.judge.standing`), and they are not judged again.
    """
    seen = [
        _one(each, changes.get(each.key), policy, machine, past.get(each.key), held=each.key in held) for each in series
    ]
    judged = [at for at, each in enumerate(seen) if each.verdict not in {Verdict.INVALID, Verdict.INSUFFICIENT}]
    p_values = [1.0 if (change := seen[at].change) is None else change.p_value for at in judged]
    found = dict(zip(judged, discoveries(p_values, policy.false_discovery_rate), strict=True))
    return [
        replace(each, discovery=found.get(at, False) and each.change is not None and each.change.firm)
        for at, each in enumerate(seen)
    ]


def suspects_of(seen: Sequence[Seen]) -> list[Suspect]:
    """Those to be re-run, in the order in which time is spent on them.

    Those of one setup come together, and have one last good night where their own are near each other: what one change
    did to several series is located a night or two apart. The setups with the most evidence for their cost go first.
    """
    setups: defaultdict[Setup, list[tuple[Suspect, NightSeries]]] = defaultdict(list)
    for each in seen:
        if each.rerun and (found := suspect_of(each)) is not None:
            setups[found.cell.setup].append((found, each.series))
    groups = [group for of_setup in setups.values() for group in _together(of_setup)]
    return [each for group in sorted(groups, key=_worth, reverse=True) for each in group]


def _together(of_setup: Sequence[tuple[Suspect, NightSeries]]) -> list[list[Suspect]]:
    """Groups of one last good night each: the earliest that serves, at most `_SHARED_NIGHTS` before a suspect's own."""
    groups: dict[str, list[Suspect]] = {}
    for each, series in sorted(of_setup, key=lambda each: each[0].change.nights, reverse=True):
        known = [point.night for point in series.valid]
        own = each.good_run_id
        near = known[max(0, known.index(own) - _SHARED_NIGHTS) : known.index(own)] if own in known else []
        good = next((night for night in groups if night in near), own)
        groups.setdefault(good, []).append(replace(each, good_run_id=good))
    return list(groups.values())


def _worth(group: Sequence[Suspect]) -> float:
    """Evidence for the cost of a deployment: a start, which takes about as long as a cell, and the cells.

    What took another series' place is no evidence of anything, and goes last.
    """
    evidence = sum(1.0 if each.predecessor is not None else _evidence(each.change) for each in group)
    return evidence / (1.0 + len({_cell(each.key) for each in group}))


def suspect_of(seen: Seen) -> Suspect | None:
    """``None`` where nothing changed."""
    if seen.change is None:
        return None
    each, predecessor = seen.series, seen.series.predecessor
    good = None if predecessor is None else predecessor.key.fingerprint
    return Suspect(each.key, each.label, each.cell, seen.change, seen.change.last_before, good)


def decided_before(records: Iterable[JudgementRecord]) -> dict[SeriesKey, JudgementRecord]:
    """The newest decision of each series that spares it a re-run, of earlier judgements in order of their nights.

    A change that a re-run refuted (and so `Verdict.OK`), or could not decide where history was not sure either, or of
    which the machine was found to be the cause. It stands until the change grows, history becomes sure of it, or
    another takes its place; the undecided until history is surer by `_SURER`, too. One for which there was no time is
    not here.
    """
    return {
        SeriesKey(record.suite, record.fingerprint, record.metric): record
        for record in records
        if record.change is not None
        and (
            record.verdict is Verdict.ENVIRONMENT
            or (record.verdict is Verdict.OK and (record.confirmation_id is not None or _undecided(record)))
        )
    }


def _undecided(record: JudgementRecord) -> bool:
    return record.confirmation_id is None and record.detail.startswith(UNDECIDED)


def same_change(change: Change, earlier: Change, points: Sequence[Point]) -> bool:
    """Whether two nights found one change: the same way, from about the same night on; ``points`` are tonight's."""
    if (change.ratio < 1.0) != (earlier.ratio < 1.0):
        return False
    places = {point.night: place for place, point in enumerate(point for point in points if not point.doubted)}
    if change.since not in places or earlier.since not in places:
        return False
    return abs(places[change.since] - places[earlier.since]) <= _SAME_NIGHTS


def _relapse(each: NightSeries, policy: JudgePolicy) -> Change | None:
    """What a series too young for the rule shows against an anchor that it inherited, from its recovery or from the
    series whose place it took: its newest nights, two at least, all worse by the effect. Enough for a re-run, no more.
    """
    anchor, valid, direction = each.history.anchor, each.valid, each.key.metric.direction
    if anchor is None or len(valid) > policy.min_nights:
        return None
    least = math.log1p(policy.effect(each.key.metric))
    logs = [math.log(point.value / anchor.value) for point in valid]
    worse = [(size if direction is Direction.LOWER else -size) > least for size in logs]
    nights = next((ago for ago, bad in enumerate(reversed(worse)) if not bad), len(valid))
    if not _RELAPSE_NIGHTS <= nights < len(valid):
        return None
    after = Estimate(anchor.value * math.exp(sum(logs[-nights:]) / nights))
    since, last_before = valid[-nights].night, valid[-nights - 1].night
    return Change(since, last_before, nights, anchor, after, policy.confirm.watch_p, firm=False)


def _one(
    each: NightSeries,
    change: Change | None,
    policy: JudgePolicy,
    machine: Machine,
    before: JudgementRecord | None,
    *,
    held: bool,
) -> Seen:
    if each.doubts:
        return Seen(each, Verdict.INVALID, f"doubted: {', '.join(each.doubts)}")
    if held:
        return Seen(each, Verdict.REGRESSED, "an alert is open about it")
    nights = len(each.valid) - 1
    if each.predecessor is not None and nights < policy.min_nights and before is None:
        return _succession(each, each.predecessor, policy)
    if change is not None:
        return _changed(each, change, policy, machine, before)
    if nights < policy.min_nights:
        detail = f"{nights} valid nights before tonight, of {policy.min_nights} that are needed"
        return Seen(each, Verdict.INSUFFICIENT, detail)
    return Seen(each, Verdict.OK)


def _changed(
    each: NightSeries, change: Change, policy: JudgePolicy, machine: Machine, before: JudgementRecord | None
) -> Seen:
    metric = each.key.metric
    if before is not None and not _decided(change, before, each):
        before = None
    if machine.explains(change, metric.direction, policy.effect(metric)):
        detail = f"the machine changed: {machine.words}"
        decided = None if before is None or _undecided(before) else before
        return Seen(each, Verdict.ENVIRONMENT, detail, change, explained=True, before=decided)
    if not change.worse(metric.direction):
        return Seen(each, Verdict.IMPROVED if change.firm else Verdict.OK, _unsure(change), change)
    if before is not None:
        return _again(each, change, before)
    verdict = Verdict.SUSPECTED if change.firm else Verdict.OK
    return Seen(each, verdict, _unsure(change), change, rerun=policy.confirm.enabled)


def _decided(change: Change, before: JudgementRecord, each: NightSeries) -> bool:
    """Whether an earlier night's decision still stands: nothing new is known since then."""
    earlier = before.change
    if earlier is None or not same_change(change, earlier, each.history.points):
        return False
    if abs(math.log(change.ratio)) > _LARGER * abs(math.log(earlier.ratio)) or (change.firm and not earlier.firm):
        return False
    return not _undecided(before) or (not change.firm and change.p_value * _SURER > earlier.p_value)


def _again(each: NightSeries, change: Change, before: JudgementRecord) -> Seen:
    if before.verdict is Verdict.ENVIRONMENT:
        detail = f"as on {before.run_id}: {before.detail}"
    elif _undecided(before):
        return Seen(each, before.verdict, f"on {before.run_id} {before.detail}", change, before=before)
    else:
        detail = f"this change was refuted on {before.run_id}: {before.detail}"
    return Seen(each, before.verdict, _once(detail), change, before=before)


def _once(detail: str) -> str:
    """A decision is quoted night after night; the quotation of a quotation says no more."""
    head, _, tail = detail.partition(": ")
    while tail.startswith(("as on ", "this change was refuted on ")):
        head, _, tail = tail.partition(": ")
    return f"{head}: {tail}"


def _succession(each: NightSeries, predecessor: Predecessor, policy: JudgePolicy) -> Seen:
    """A new series against the one whose place it takes, so that a new exporter is no new beginning.

    Its own history is too short to say anything, and would take what is slow for usual. So whatever is worse than the
    predecessor's level by the effect is re-run, behind all else, with the largest p-value that is; and night after
    night, until a re-run had the time to decide it or its own history is long enough.
    """
    history, metric = predecessor.history, each.key.metric
    known = [point for point in history.points if not point.doubted]
    level = level_of(history.points, policy)
    if level is None or not known:
        return Seen(each, Verdict.INSUFFICIENT, "new, and so was the series before it")
    detail = "new: the artifact or the options are others than before"
    change = Change(each.tonight, known[-1].night, 1, level, each.figure, policy.confirm.watch_p, firm=False)
    if slowdown(change, metric.direction) <= math.log1p(policy.effect(metric)):
        return Seen(each, Verdict.OK, f"{detail}; no worse than those")
    return Seen(each, Verdict.OK, detail, change, rerun=policy.confirm.enabled)


def _unsure(change: Change) -> str:
    return "" if change.firm else "history is not sure that it changed"
