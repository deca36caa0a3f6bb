"""A run of the past opened once more, on this machine, to look for a culprit."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from db.spool import Spool
from launch.workdir import default_root, workdir
from nightbench.catalog import Catalog, resolve
from nightbench.errors import UsageError, nearest
from nightbench.judge.alert import Alert, Member
from nightbench.judge.night import Suspect
from nightbench.plan import Cell, Export, Setup
from nightbench.record import ArtifactRecord, MeasurementRecord
from nightbench.settings import Settings
from nightbench.stopping import never
from nightbench.suite import Suite, parse_suite
from tasks import machine
from tasks.ab.past import Night, Past
from tasks.launching import ENGINE, context_of, engine_as_begun
from tasks.opening import alone
from tasks.progress import Progress
from tasks.request import SUITE_FOLDER
from tasks.session import Session

__all__ = ["reopened", "suspect_of", "worst_member"]


def worst_member(alert: Alert) -> Member:
    """What an alert is bisected by; `UsageError` if it is about no series."""
    if not alert.finding.members:
        raise UsageError(f"alert {alert.number}: is about no series ({alert.finding.kind}); there is nothing to bisect")
    return alert.finding.members[0]


def suspect_of(member: Member, night: Night, suite: Suite, catalog: Catalog) -> Suspect:
    """The member as something to be deployed and measured again.

    `UsageError` if ``night`` has no measurement of it, or its server or model is no more.
    """
    measured = next(
        (
            each
            for each in night.records
            if isinstance(each, MeasurementRecord) and each.case.fingerprint == member.key.fingerprint
        ),
        None,
    )
    if measured is None:
        raise UsageError(f"run {night.run_id}: has no measurement of {member.label}")
    case, known = measured.case, catalog.with_external(suite)
    if case.server not in known.servers:
        raise UsageError(f"server {case.server!r}: is no more; {nearest(case.server, known.servers)}")
    if case.model not in known.models:
        raise UsageError(f"model {case.model!r}: is no more; {nearest(case.model, known.models)}")
    key = measured.cell_id.partition(".")[0]
    # The plan's own where it still has it: of a trace, the database keeps the hash and not the path.
    planned = next((cell for cell in resolve(suite, catalog, suite.name).cells if cell.key == key), None)
    cell = planned or Cell(f"{key}.r1", _setup(measured, night, known), case.protocol, case.batch, case.load)
    return Suspect(member.key, member.label, cell, member.change, member.change.last_before)


@contextmanager
def reopened(
    run_id: str,
    past: Past,
    settings: Settings,
    catalog: Catalog,
    progress: Progress,
    should_stop: Callable[[], bool] = never,
) -> Iterator[Session]:
    """A session of a run that is over, while no other measures on this machine. What it records goes to a spool of its
    own in the run's folder, named as the bisection is.

    `UsageError` if there is no such run, or it was made on another kind of machine.
    """
    begun = past.night(run_id).started
    if begun is None:
        raise UsageError(f"run {run_id!r}: is not in the database; `nightbench history` lists runs")
    place = machine.placement()
    here = machine.hardware(place)
    if begun.hardware != here:
        raise UsageError(f"run {run_id!r}: was made on {begun.hardware}, and this is {here}; bisect it there")
    folder = Path(begun.context.get(SUITE_FOLDER, "."))
    suite = parse_suite(begun.suite_yaml, f"suite of run {run_id}", folder).model_copy(update={"seed": begun.seed})
    engine = engine_as_begun(run_id, containers=ENGINE in begun.context)
    with ExitStack() as stack:
        spool = stack.enter_context(Spool.open(settings.runs / run_id, f"bisect-{secrets.token_hex(2)}"))
        session = Session(
            run_id=run_id,
            suite=suite,
            plan=resolve(suite, catalog, f"suite of run {run_id}"),
            catalog=catalog.with_external(suite),
            settings=settings,
            spool=spool,
            place=place,
            hardware=here,
            context={**machine.context(), **context_of(engine)},
            workdir=stack.enter_context(workdir(default_root())),
            engine=engine,
            progress=progress,
            should_stop=should_stop,
        )
        session.folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(alone(session))
        yield session


def _setup(measured: MeasurementRecord, night: Night, catalog: Catalog) -> Setup:
    case = measured.case
    weights = next(
        (
            each.weights
            for each in night.records
            if isinstance(each, ArtifactRecord) and each.sha256 == case.artifact_sha256
        ),
        catalog.models[case.model].default_weights,
    )
    export = Export(case.model, case.format, case.precision, weights)
    return Setup(case.server, export, tuple(sorted(case.options.items())))
