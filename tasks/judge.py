"""Stage: judge the night. Its points against their history, what looks changed against a re-run, and what deserves it
becomes an alert.

Nothing here decides anything: `nightbench.judge` does, and this hands it the night, the history and the re-runs.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from nightbench.judge.alert import Alert, AlertKind, Finding
from nightbench.judge.context import differences
from nightbench.judge.environment import Fleet, Machine, machine_of
from nightbench.judge.findings import expired_baselines, failed_servers, parity_breaks
from nightbench.judge.grouping import MACHINE, Tonight, group, machine_finding, merged
from nightbench.judge.night import NightSeries, Seen, Suspect, changes_of, decided_before, look, suspect_of, suspects_of
from nightbench.judge.points import plan_cell, points_of_cells, series_label
from nightbench.judge.policy import JudgePolicy
from nightbench.judge.series import NightPoint, Point, Predecessor, SeriesHistory, SeriesKey
from nightbench.judge.settle import Settled, settle
from nightbench.judge.standing import Baseline, Closed, Standing, decided_tonight, not_found_again, standing
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
    def predecessors(self, run_id: str, nights: int) -> dict[SeriesKey, Predecessor]: ...
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
    """Judge tonight's figures, which are all in the database by now; ``None`` where that could not be done.

    ``confirm`` re-runs what is suspected. Whatever goes wrong in here is said in a note: the night has been measured,
    and can be judged again. Only `Cancelled` and `Stopped` pass.
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
        session.progress.note(f"the night was not judged to its end: {type(error).__name__}: {error}")
        return None
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
            machine = self._machine(series, changes)
        confirmations, seen, machine = self._reruns(
            lambda excuse: look(series, changes, self.policy, excuse, past, stands.held), machine
        )
        with self.session.ledger.span("judge"):
            settled = settle(self.run_id, seen, {_key(each): each for each in confirmations}, self.policy)
            self.session.record(*settled.judgements)
            rebased = {key for key, *_ in stands.baselines}
            baselines = [*stands.baselines, *(each for each in settled.baselines if each[0] not in rebased)]
            self.memory.set_baselines(baselines)
            alerts, recovered = self._alerts(night, series, settled, stands, live, machine, confirmations)
        verdicts = Counter(record.verdict for record in settled.judgements)
        return Judged(self.run_id, dict(verdicts.most_common()), alerts, recovered, tuple(confirmations))

    def _series(self, night: NightSummary) -> list[NightSeries]:
        """Tonight's points, each with its history."""
        cells = points_of_cells(night, night.run.suite)
        self.memory.put_points(self.run_id, [point for cell in cells for point in cell.points])
        reach = max(self.policy.baseline_nights + self.policy.window_nights, self.policy.expires_nights + 1)
        histories = self.memory.series_of(self.run_id, reach)
        predecessors = self.memory.predecessors(self.run_id, reach)
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
        self, read: Callable[[Machine], list[Seen]], machine: Machine
    ) -> tuple[list[ConfirmationRecord], list[Seen], Machine]:
        """Re-run what is suspected, within the night's budget; and one of those that the machine explains, as a check.

        Where that one turns out to be slower side by side, the machine is no excuse, and all of them are re-run. What
        is left of its change then is what canaries saw.
        """
        with self.session.ledger.span("judge"):
            seen = read(machine)
        if self.confirm is None or not self.policy.confirm.enabled:
            return [], seen, machine
        spent_ns = self.session.ledger.spent_ns()
        budget_ns = round(self.policy.confirm.budget_share * (sum(spent_ns.values()) - spent_ns.get("waiting", 0)))
        check = _check_of(seen)
        first = [*([] if check is None else [check]), *suspects_of(seen)]
        if not first:
            return [], seen, machine
        begun_ns = time.monotonic_ns()
        found = list(self.confirm(self.session, first, budget_ns))
        known = {_key(each): each.outcome for each in found}
        if check is None or known.get(check.key) is not Outcome.CONFIRMED:
            return found, seen, machine
        seen = read(Machine())
        others = [suspect for suspect in suspects_of(seen) if suspect.key not in known]
        left_ns = budget_ns - (time.monotonic_ns() - begun_ns)
        if others and left_ns > 0:
            found += self.confirm(self.session, others, left_ns)
        return found, seen, machine.by_canaries

    def _alerts(
        self,
        night: NightSummary,
        series: Sequence[NightSeries],
        settled: Settled,
        stands: Standing,
        live: Sequence[Alert],
        machine: Machine,
        confirmations: Sequence[ConfirmationRecord],
    ) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
        members = [*settled.regressed, *settled.unconfirmed, *settled.environment]
        before, changed = self._before(night, {member.change.last_before for member in members})
        tonight = Tonight(
            {each.key: each for each in series}, {each.confirmation_id: each for each in confirmations}, live, changed
        )
        looked = (parity_breaks(night, before), failed_servers(night), expired_baselines(series, self.policy))
        findings = [
            *merged(stands.continued, group(AlertKind.REGRESSION, settled.regressed, tonight)),
            *group(AlertKind.UNCONFIRMED, settled.unconfirmed, tonight),
            *(finding for each in looked for finding in each.findings),
        ]
        if settled.environment or machine.news:
            findings.append(machine_finding(machine, settled.environment, tonight))
        verdicts = {SeriesKey(each.suite, each.fingerprint, each.metric): each.verdict for each in settled.judgements}
        looked_at = {subject for each in looked for subject in each.subjects}
        looked_at |= {(AlertKind.ENVIRONMENT, MACHINE)} | decided_tonight(live, verdicts)
        closed = {**stands.closed, **not_found_again(live, findings, looked_at)}
        now = datetime.now(UTC)
        raised = self.memory.raise_alerts(night.run.suite, self.run_id, findings, now)
        return tuple(raised), tuple(self.memory.recover(night.run.suite, self.run_id, closed, now))

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
    """The worst of those that the machine explains, unless an earlier night looked into this very change."""
    explained = [each for each in seen if each.explained and each.worse]
    if not explained or any(each.before is not None for each in explained):
        return None
    suspects = [suspect for each in explained if (suspect := suspect_of(each)) is not None]
    return max(suspects, key=lambda suspect: abs(math.log(suspect.change.ratio)))


def _key(record: ConfirmationRecord) -> SeriesKey:
    return SeriesKey(record.suite, record.fingerprint, record.metric)
