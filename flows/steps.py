"""The steps of a night bound to one session: the bare form that both Prefect and offline runs start from."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from dashboards.report.told import told_of
from flows.night import Steps, run_replicate
from launch.environment import Environment
from nightbench.errors import DeploymentError, UsageError
from nightbench.judge.night import Suspect
from nightbench.plan import Cell, Export, Replicate
from nightbench.record import ConfirmationRecord
from nightbench.server import Deployment
from nightbench.summary import summarise
from tasks.ab.confirm import confirm_all
from tasks.calibrate import calibrate_kinds, canary
from tasks.changes import locate_changes
from tasks.deploy import deployed, prepare_environment
from tasks.drift import write_drift_report
from tasks.export import Exported, Unusable, export_all
from tasks.judge import Confirm, Judged, judge_night
from tasks.measure import measure
from tasks.missing import Why, record_missing
from tasks.opening import finish
from tasks.parity import check_wire
from tasks.quality import check_quality
from tasks.report import spooled_records, write_report
from tasks.session import Session
from tasks.subject import Subject

__all__ = ["bare_steps"]


def confirmed(session: Session, suspects: Sequence[Suspect], budget_ns: int) -> list[ConfirmationRecord]:
    """Re-runs, one after the other."""
    # Who judges has the database: without one there is no history to suspect anything from.
    return [] if session.store is None else confirm_all(session, suspects, session.store, budget_ns)


def bare_steps(session: Session, confirm: Confirm = confirmed) -> Steps:
    """Plain calls, one after the other. Nobody is told anything: messages go out through Prefect."""

    def environment(server: str) -> Environment | DeploymentError:
        return prepare_environment(session, server)

    def export(what: Collection[Export]) -> Mapping[Export, Exported | Unusable]:
        return export_all(session, what)

    def deploy(
        replicate: Replicate, exported: Exported, environment: Environment | DeploymentError
    ) -> AbstractContextManager[Deployment | DeploymentError]:
        return deployed(session, replicate, exported, environment)

    def benchmark(replicate: Replicate, exported: Exported, environment: Environment | DeploymentError) -> None:
        run_replicate(steps, replicate, exported, environment)

    def calibrate(exports: Mapping[Export, Exported | Unusable]) -> None:
        calibrate_kinds(session, exports)

    def measure_cell(subject: Subject, cell: Cell) -> object:
        return measure(session, subject, cell)

    def missing(cells: tuple[Cell, ...], why: Why, detail: str) -> None:
        record_missing(session, cells, why, detail)

    def keep() -> None:
        if session.store is not None:
            from tasks.store import store

            store(session)

    def judge() -> Judged | None:
        judged = judge_night(session, confirm=confirm)
        locate_changes(session)
        return judged

    def report() -> Path | None:
        write_drift_report(session)
        records = spooled_records(session.settings, session.run_id)
        try:
            return write_report(summarise(records), session.folder / "report.html", told_of(records))
        except UsageError as error:
            # Everything it would show is on record; it can be drawn at any time.
            session.progress.note(str(error))
            return None

    steps = Steps(
        environment=environment,
        export=export,
        benchmark=benchmark,
        deployed=deploy,
        calibrate=calibrate,
        canary=lambda number: canary(session, number),
        check=lambda subject: check_wire(session, subject),
        measure=measure_cell,
        missing=missing,
        store=keep,
        gate=lambda: check_quality(session),
        judge=judge,
        notify=lambda _: None,
        finish=lambda: finish(session),
        report=report,
        ledger=session.ledger,
    )
    return steps
