"""The night after its re-runs: the verdict of every series, what becomes a baseline, and what deserves an alert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nightbench.judge.alert import Member
from nightbench.judge.night import SETTLED_NIGHTS, UNDECIDED, NightSeries, Seen
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.rule import anchor_of
from nightbench.judge.series import SeriesKey
from nightbench.judge.standing import Baseline
from nightbench.judge.verdict import Change, Outcome, Verdict
from nightbench.record import ConfirmationRecord, JudgementRecord

__all__ = ["Settled", "settle"]

_NO_TIME = "no re-run decided it: the time for re-runs was spent"
_NOT_LOOKED_INTO = "no re-run decided it"
_NOT_ASKED = "no re-run decided it: `confirm` is off"


@dataclass(slots=True)
class Settled:
    """What the night comes to."""

    judgements: list[JudgementRecord] = field(default_factory=list)
    baselines: list[Baseline] = field(default_factory=list)
    regressed: list[Member] = field(default_factory=list)
    unconfirmed: list[Member] = field(default_factory=list)
    environment: list[Member] = field(default_factory=list)
    """Those of which the machine is the cause, be it by the canaries or by a re-run."""


def settle(
    run_id: str, seen: Sequence[Seen], confirmations: Mapping[SeriesKey, ConfirmationRecord], policy: JudgePolicy
) -> Settled:
    """``confirmations`` by series; one that should have been re-run and is not there found no time.

    What becomes a baseline: a confirmed regression at once, since tonight's build *is* slower and another night of it
    is no news; what the machine did, and an improvement, once it has lasted (`nightbench.judge.night`). What was
    refuted does not, nor does what nobody could decide: a drift towards worse stays one, measured from its anchor.
    """
    settled = Settled()
    for each in seen:
        decided = confirmations.get(each.series.key)
        verdict, detail = _verdict(each, decided, policy)
        settled.judgements.append(
            JudgementRecord(
                run_id,
                each.series.key.suite,
                each.series.key.fingerprint,
                each.series.key.metric,
                verdict,
                detail,
                each.change,
                _decided_by(each, decided),
            )
        )
        if each.change is not None:
            _gather(settled, each, verdict, each.change, decided)
        baseline = _baseline(each, verdict, policy)
        if baseline is not None:
            settled.baselines.append(baseline)
    return settled


def _verdict(seen: Seen, decided: ConfirmationRecord | None, policy: JudgePolicy) -> tuple[Verdict, str]:
    if decided is None:
        waiting = seen.change is not None and seen.verdict is Verdict.SUSPECTED
        if waiting:
            return seen.verdict, _NO_TIME if policy.confirm.enabled else _NOT_ASKED
        return seen.verdict, seen.detail
    match decided.outcome:
        case Outcome.CONFIRMED:
            return Verdict.REGRESSED, decided.detail
        case Outcome.REFUTED:
            return Verdict.OK, decided.detail
        case Outcome.ENVIRONMENT:
            return Verdict.ENVIRONMENT, decided.detail
        case Outcome.UNCONFIRMABLE:
            # One of which history was not sure is left at that.
            return seen.verdict, f"{UNDECIDED if decided.pairs else _NOT_LOOKED_INTO}: {decided.detail}"


def _decided_by(seen: Seen, decided: ConfirmationRecord | None) -> str | None:
    if decided is not None:
        return None if decided.outcome is Outcome.UNCONFIRMABLE else decided.confirmation_id
    return None if seen.before is None else seen.before.confirmation_id


def _gather(settled: Settled, seen: Seen, verdict: Verdict, change: Change, decided: ConfirmationRecord | None) -> None:
    member = Member(
        seen.series.key,
        seen.series.label,
        change,
        decided.ratio if decided else None,
        decided.confirmation_id if decided else None,
    )
    if verdict is Verdict.REGRESSED:
        settled.regressed.append(member)
    elif verdict is Verdict.ENVIRONMENT and seen.worse:
        settled.environment.append(member)
    elif verdict is Verdict.SUSPECTED and seen.discovery:
        settled.unconfirmed.append(member)


def _baseline(seen: Seen, verdict: Verdict, policy: JudgePolicy) -> Baseline | None:
    each, change = seen.series, seen.change
    if change is not None:
        lasted = change.nights >= SETTLED_NIGHTS
        if verdict is Verdict.REGRESSED:
            return each.key, change.since, "regressed", None
        if verdict is Verdict.ENVIRONMENT and change.firm and lasted:
            return each.key, change.since, "environment", None
        if verdict is Verdict.IMPROVED and seen.discovery and lasted:
            return each.key, change.since, "improved", None
    return _anchored(each, policy)


def _anchored(each: NightSeries, policy: JudgePolicy) -> Baseline | None:
    """The anchor of a base that is old enough to have one and has none yet, or of one that took another's place."""
    if each.predecessor is not None and len(each.valid) == 1:
        anchor = each.predecessor.history.anchor
        return None if anchor is None else (each.key, each.tonight, "took another's place", anchor)
    if each.history.anchor is not None or each.doubts:
        return None
    anchor = anchor_of(each.history.points, policy)
    first = each.history.since or each.valid[0].night
    return None if anchor is None else (each.key, first, "anchor", anchor)
