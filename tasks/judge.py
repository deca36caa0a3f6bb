"""Stage: judge the night. Its points against their history, what looks changed against a re-run, and what deserves it
becomes an alert.

Nothing here decides anything: `nightbench.judge` does, and this hands it the night, the history and the re-runs.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from nightbench.judge.alert import Alert, AlertKind, Finding, Member
from nightbench.judge.context import differences
from nightbench.judge.environment import Fleet, Machine, machine_of
from nightbench.judge.findings import expired_baselines, failed_servers, parity_breaks
from nightbench.judge.grouping import MACHINE, Tonight, group, machine_finding, merged
from nightbench.judge.night import NightSeries, Seen, Suspect, changes_of, decided_before, look, suspect_of, suspects_of
from nightbench.judge.points import plan_cell, points_of_cells, series_label
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import NightPoint, Point, Predecessor, SeriesHistory, SeriesKey
from nightbench.judge.settle import Settled, settle
from nightbench.judge.standing import Baseline, Closed, Standing, not_found_again, standing, undecided
from nightbench.judge.verdict import Change, Outcome, Verdict
from nightbench.judge.words import count
from nightbench.record import ConfirmationRecord, DeploymentRecord, JudgementRecord, ParityRecord, Record, RunStarted
from nightbench.stopping import Stopped
from nightbench.summary import NightSummary
from tasks.report import night_so_far
from tasks.session import Cancelled, Session

__all__ = ["Confirm", "Judged", "Memory", "judge_night"]

_ALL = 100_000
"""Live alerts of one suite: there are never so many."""


class Memory(Protocol):
    """What judging asks of the database: `db.store.Store`."""

    def put_points(self, run_id: str, points: Sequence[NightPoint]) -> None: ...
    def series_of(self, run_id: str, nights: int) -> dict[SeriesKey, SeriesHistory]: ...
    def predecessors(self, run_id: str, nights: int, young: int) -> dict[SeriesKey, Predecessor]: ...
    def canary_history(self, run_id: str, nights: int) -> dict[tuple[str, str], tuple[Point, ...]]: ...
    def judgements(self, run_id: str, nights: int) -> list[JudgementRecord]: ...
    def set_baselines(self, rows: Sequence[Baseline]) -> None: ...
    def last_completed(self, run_id: str) -> str | None: ...
    def records(self, run_id: str, *kinds: type[Record]) -> list[Record]: ...
    def run_started(self, run_id: str) -> RunStarted | None: ...
    def alerts(self, *, live: bool = False, suite: str | None = None, limit: int = 50) -> list[Alert]: ...
    def raise_alerts(self, suite: str, run_id: str, findings: Sequence[Finding], now: datetime) -> list[Alert]: ...
    def recover(self, suite: str, run_id: str, closed: Closed, now: datetime) -> list[Alert]: ...


Confirm = Callable[[Session, Sequence[Suspect], int], Sequence[ConfirmationRecord]]
"""Re-runs: `tasks.ab.confirm.confirm_all`, which leaves its records itself; the last is the time it has, in ns."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of a night in the morning."""

    run_id: str
    verdicts: Mapping[Verdict, int]
    """Series by what was said of each."""
    alerts: tuple[Alert, ...] = ()
    """Found tonight: those it opened, and those it found again."""
    recovered: tuple[Alert, ...] = ()
    confirmations: tuple[ConfirmationRecord, ...] = ()
    failure: str = ""
    """Why the night was not judged to its end; empty where it was."""

    @property
    def opened(self) -> tuple[Alert, ...]:
        return tuple(alert for alert in self.alerts if alert.opened_run_id == self.run_id)

    @property
    def line(self) -> str:
        """``judged 120 series: 117 ok, 2 insufficient, 1 regressed; 1 alert opened, 0 continue, 0 recovered``."""
        counts = ", ".join(f"{number} {verdict}" for verdict, number in self.verdicts.items()) or "none"
        opened = len(self.opened)
        return (
            f"judged {sum(self.verdicts.values())} series: {counts}; {count(opened, 'alert')} opened, "
            f"{len(self.alerts) - opened} continue, {len(self.recovered)} recovered"
        )


def judge_night(session: Session, *, confirm: Confirm | None = None) -> Judged | None:
    """Judge tonight's figures, which are all in the database by now; ``None`` where there is no database.

    ``confirm`` re-runs what is suspected. Whatever goes wrong in here is said in a note and in `Judged.failure`: the
    night has been measured, and people must not take silence for good news. Only `Cancelled` and `Stopped` pass.
    """
    if session.store is None:
        session.progress.note("the night was not judged: that takes the database, where the nights before it are")
        return None
    try:
        session.progress.doing("judging the night")
        judged = _Judging(session, session.store, confirm).judged()
        session.progress.note(judged.line)
    except (Cancelled, Stopped):
        raise
    except Exception as error:  # noqa: BLE001 - a fault of judging must not cost the night that was measured
        failure = f"{type(error).__name__}: {error}"
        session.progress.note(f"the night was not judged to its end: {failure}")
        return Judged(session.run_id, {}, failure=failure)
    return judged


@dataclass(frozen=True, slots=True)
class _Judging:
    session: Session
    memory: Memory
    confirm: Confirm | None

    @property
    def policy(self) -> JudgePolicy:
        return self.session.suite.judge

    @property
    def run_id(self) -> str:
        return self.session.run_id

    def judged(self) -> Judged:
        with self.session.ledger.span("judge"):
            night = night_so_far(self.session)
            series = self._series(night)
            live = self.memory.alerts(live=True, suite=night.run.suite, limit=_ALL)
            stands = standing(live, series)
            past = decided_before(self.memory.judgements(self.run_id, self.policy.window_nights))
            changes = changes_of(series, self.policy)
            # What an alert is open about may get worse still.
            held = stands.held - {key for key, change in changes.items() if change.worse(key.metric.direction)}
            machine = self._machine(series, changes)
        confirmations, seen, machine = self._reruns(
            lambda excuse, known: look(series, changes, self.policy, excuse, known, held), machine, past
        )
        with self.session.ledger.span("judge"):
            settled = settle(self.run_id, seen, {_key(each): each for each in confirmations}, self.policy)
            self.session.record(*settled.judgements)
            alerts, closed = self._alerts(night, series, settled, stands, live, machine, confirmations)
            rebased = {key for key, *_ in stands.baselines}
            baselines = [*stands.baselines, *(each for each in settled.baselines if each[0] not in rebased)]
            # Between the two, for a baseline hides what it starts with: whoever dies in here leaves an alert too many.
            self.memory.set_baselines(baselines)
            recovered = tuple(self.memory.recover(night.run.suite, self.run_id, closed, datetime.now(UTC)))
        verdicts = Counter(record.verdict for record in settled.judgements)
        return Judged(self.run_id, dict(verdicts.most_common()), alerts, recovered, tuple(confirmations))

    def _series(self, night: NightSummary) -> list[NightSeries]:
        """Tonight's points, each with its history."""
        cells = points_of_cells(night, night.run.suite)
        self.memory.put_points(self.run_id, [point for cell in cells for point in cell.points])
        reach = max(self.policy.baseline_nights + self.policy.window_nights, self.policy.expires_nights + 1)
        histories = self.memory.series_of(self.run_id, reach)
        predecessors = self.memory.predecessors(self.run_id, reach, self.policy.min_nights - 1)
        weights = {artifact.sha256: artifact.weights for artifact in night.artifacts}
        return [
            NightSeries(
                key=point.key,
                label=series_label(cell.summary, point.key.metric),
                cell=plan_cell(cell.summary, cell.case, weights.get(cell.case.artifact_sha256, "")),
                figure=point.figure,
                doubts=point.doubts,
                history=history,
                predecessor=predecessors.get(point.key),
            )
            for cell in cells
            for point in cell.points
            # A figure that is no number has no place in a series.
            if (history := histories.get(point.key)) is not None
        ]

    def _machine(self, series: Sequence[NightSeries], changes: Mapping[SeriesKey, Change]) -> Machine:
        reach = self.policy.baseline_nights + self.policy.window_nights
        fleet = [
            Fleet(each.server, each.key.metric.direction, each.history.points, changes.get(each.key)) for each in series
        ]
        return machine_of(self.memory.canary_history(self.run_id, reach), fleet, self.policy, self.run_id)

    def _reruns(
        self,
        read: Callable[[Machine, Mapping[SeriesKey, JudgementRecord]], list[Seen]],
        machine: Machine,
        past: Mapping[SeriesKey, JudgementRecord],
    ) -> tuple[list[ConfirmationRecord], list[Seen], Machine]:
        """Re-run what is suspected, within the night's budget; and one of those that the machine explains, as a check.

        Where that one turns out to be slower side by side, the machine is no excuse, and all of them are re-run. What
        is left of its change then is what canaries saw.
        """
        with self.session.ledger.span("judge"):
            seen = read(machine, past)
        if self.confirm is None or not self.policy.confirm.enabled:
            return [], seen, machine
        spent_ns = self.session.ledger.spent_ns()
        budget_ns = round(self.policy.confirm.budget_share * (sum(spent_ns.values()) - spent_ns.get("waiting", 0)))
        begun_ns, found = time.monotonic_ns(), list[ConfirmationRecord]()
        check = _check_of(seen)
        if check is not None:
            # By itself: among other suspects it might not find the time, and all that hangs on it.
            found = self._confirmed(self.confirm, [check], budget_ns)
            if any(_key(each) == check.key and each.outcome is Outcome.CONFIRMED for each in found):
                # Nor is it what earlier nights took it for, unless a re-run said so: then only what came later is
                # without an excuse.
                if not _checked(seen):
                    past = {key: each for key, each in past.items() if not _taken_for_the_machine(each)}
                seen, machine = read(Machine(), past), machine.by_canaries
        known = {_key(each) for each in found}
        suspects = [suspect for suspect in suspects_of(seen) if suspect.key not in known]
        left_ns = budget_ns - (time.monotonic_ns() - begun_ns)
        if suspects and (check is None or left_ns > 0):
            found += self._confirmed(self.confirm, suspects, left_ns)
        return found, seen, machine

    def _confirmed(self, confirm: Confirm, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
        """What re-runs say; nothing where they fail as a whole: history still has its say, and all else is judged."""
        try:
            return list(confirm(self.session, suspects, budget_ns))
        except (Cancelled, Stopped):
            raise
        except Exception as error:  # noqa: BLE001 - whatever fails in a re-run must not cost the night its alerts
            self.session.progress.note(f"re-runs failed: {type(error).__name__}: {error}")
            return []

    def _alerts(
        self,
        night: NightSummary,
        series: Sequence[NightSeries],
        settled: Settled,
        stands: Standing,
        live: Sequence[Alert],
        machine: Machine,
        confirmations: Sequence[ConfirmationRecord],
    ) -> tuple[tuple[Alert, ...], Closed]:
        """What is found tonight, raised; and what is over."""
        members = [*settled.regressed, *settled.unconfirmed, *settled.environment]
        before, changed = self._before(night, {member.change.last_before for member in members})
        tonight = Tonight(
            {each.key: each for each in series}, {each.confirmation_id: each for each in confirmations}, live, changed
        )
        judged = {SeriesKey(each.suite, each.fingerprint, each.metric): each for each in settled.judgements}
        waiting = undecided(live, judged, series)
        looked = (parity_breaks(night, before), failed_servers(night), expired_baselines(series, self.policy))
        findings = [
            *merged(self._still_live(stands.continued), group(AlertKind.REGRESSION, settled.regressed, tonight)),
            *_joined(live, waiting, group(AlertKind.UNCONFIRMED, settled.unconfirmed, tonight)),
            *(finding for each in looked for finding in each.findings),
        ]
        if settled.environment or machine.news:
            findings.append(machine_finding(machine, settled.environment, tonight))
        looked_at = {subject for each in looked for subject in each.subjects}
        looked_at |= {(AlertKind.ENVIRONMENT, MACHINE), *(subject for subject, left in waiting.items() if not left)}
        # One series of a subject may recover on the night on which another gets worse.
        found = {(finding.kind, finding.subject) for finding in findings}
        recovered = {subject: why for subject, why in stands.closed.items() if subject not in found}
        closed = {**recovered, **not_found_again(live, findings, looked_at)}
        return tuple(self.memory.raise_alerts(night.run.suite, self.run_id, findings, datetime.now(UTC))), closed

    def _still_live(self, continued: Sequence[Finding]) -> list[Finding]:
        """Without what a person closed while the re-runs went on: it would be opened once more."""
        live = self.memory.alerts(live=True, suite=self.session.suite.name, limit=_ALL)
        subjects = {(alert.finding.kind, alert.finding.subject) for alert in live}
        return [finding for finding in continued if (finding.kind, finding.subject) in subjects]

    def _before(
        self, night: NightSummary, good_runs: Collection[str]
    ) -> tuple[list[ParityRecord], dict[str, dict[str, str]]]:
        """The exports of the last completed night, and what differs from each night that was good."""
        last = self.memory.last_completed(self.run_id)
        parity = [] if last is None else self.memory.records(last, ParityRecord)
        versions = {each.server: each.server_version for each in night.deployments}
        changed = {}
        for run_id in sorted(good_runs):
            started = self.memory.run_started(run_id)
            if started is not None:
                were = self.memory.records(run_id, DeploymentRecord)
                before = {each.server: each.server_version for each in were if isinstance(each, DeploymentRecord)}
                changed[run_id] = differences(started.context, night.run.context, before, versions)
        return [each for each in parity if isinstance(each, ParityRecord)], changed


def _check_of(seen: Sequence[Seen]) -> Suspect | None:
    """The worst of those that the machine explains.

    Where a re-run of an earlier night decided one of them, of those that were not there then: what came later may have
    another cause. A check that found no time, or could decide nothing, is made again.
    """
    explained = [each for each in seen if each.explained and each.worse]
    if _checked(seen):
        explained = [each for each in explained if each.before is None]
    suspects = [suspect for each in explained if (suspect := suspect_of(each)) is not None]
    return max(suspects, key=lambda suspect: abs(math.log(suspect.change.ratio)), default=None)


def _joined(
    live: Sequence[Alert], waiting: Mapping[tuple[AlertKind, str], Sequence[Member]], new: Sequence[Finding]
) -> list[Finding]:
    """What no re-run could decide, with the ``waiting`` members of the live alerts that it belongs to."""
    subjects = {(finding.kind, finding.subject) for finding in new}
    old = [
        replace(alert.finding, members=tuple(waiting[subject]))
        for alert in live
        if (subject := (alert.finding.kind, alert.finding.subject)) in subjects
    ]
    return merged(old, new)


def _checked(seen: Sequence[Seen]) -> bool:
    """Whether a re-run of an earlier night decided one of those that the machine explains."""
    return any(each.explained and each.before is not None and each.before.confirmation_id is not None for each in seen)


def _taken_for_the_machine(record: JudgementRecord) -> bool:
    return record.verdict is Verdict.ENVIRONMENT and record.confirmation_id is None


def _key(record: ConfirmationRecord) -> SeriesKey:
    return SeriesKey(record.suite, record.fingerprint, record.metric)
