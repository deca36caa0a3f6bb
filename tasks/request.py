"""What a run is asked to do: a suite file measured anew, or what an interrupted run left."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from db import spool
from loadgen.trace import read_trace
from nightbench.catalog import Catalog, resolve
from nightbench.errors import UsageError
from nightbench.load import OpenLoop
from nightbench.plan import Plan, remaining
from nightbench.record import DeploymentRecord, MeasurementRecord, Record, RunFinished, RunStarted
from nightbench.server import Protocol
from nightbench.settings import Settings
from nightbench.suite import Suite, load_suite, parse_suite
from tasks import machine
from tasks.launching import ENGINE
from tasks.session import Peak, new_run_id, planned_name

__all__ = ["SUITE_FOLDER", "TRACES", "Request", "check_traces", "fresh", "resumed", "unfinished"]

SUITE_FOLDER = "suite_folder"
"""In the context of a run's start: where its suite lay."""
TRACES = "traces"
"""Likewise: the hashes of its traces."""


@dataclass(frozen=True, slots=True)
class Request:
    """A run to be made: everything decided, nothing done."""

    run_id: str
    suite: Suite
    text: str
    whole: Plan
    """All the cells of the night, those already done included."""
    plan: Plan
    """What is left of it."""
    started: bool = False
    """Whether an earlier process has begun this run."""
    earlier_ns: Mapping[str, int] = field(default_factory=dict)
    """Where the time of those earlier processes went, as far as they could say."""
    folder: Path = Path()
    """Where the suite lies: paths in it count from there."""
    peaks: Mapping[tuple[str, Protocol, int], Peak] = field(default_factory=dict)
    """What those processes' searches found, as in `tasks.session.Known`."""
    contained: bool | None = None
    """Whether they had an engine for containers; ``None`` where the choice is still to be made."""


def fresh(path: Path, catalog: Catalog, seed: int | None = None) -> Request:
    """A new run of a suite file; ``seed`` stands in for the suite's own."""
    suite, text = load_suite(path)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise UsageError(f"--seed: {seed} is wrong; give a whole number from 0 to 2^63 - 1")
        suite = suite.model_copy(update={"seed": seed})
    plan = resolve(suite, catalog, str(path))
    check_traces(plan)
    return Request(new_run_id(suite.name, datetime.now(UTC)), suite, text, plan, plan, folder=path.parent.resolve())


def resumed(run_id: str, settings: Settings, catalog: Catalog) -> Request:
    """What is left of a run that was killed or cancelled, from its own spool."""
    path = settings.spool / f"{run_id}.jsonl"
    if not path.exists():
        raise UsageError(
            f"run {run_id!r}: does not wait to be resumed on this machine: it was finished, left for weeks, or never"
            " begun here; `nightbench history` lists runs"
        )
    records = spool.read(path).records
    begun = next((record for record in records if isinstance(record, RunStarted)), None)
    if begun is None:
        raise UsageError(f"{path}: does not say what the run was; start it anew with `nightbench run SUITE`")
    here = machine.hardware(machine.placement())
    if begun.hardware != here:
        raise UsageError(f"run {run_id!r}: was begun on {begun.hardware}, and this is {here}; resume it there")
    folder = Path(begun.context.get(SUITE_FOLDER, "."))
    suite = parse_suite(begun.suite_yaml, f"suite of run {run_id}", folder).model_copy(update={"seed": begun.seed})
    whole = resolve(suite, catalog, f"suite of run {run_id}")
    if check_traces(whole) != begun.context.get(TRACES, ""):
        raise UsageError(f"run {run_id!r}: a trace of its suite is another than when it began; start a new run")
    done = {record.cell_id for record in records if isinstance(record, MeasurementRecord)}
    if not done <= {cell.cell_id for cell in whole.cells}:
        raise UsageError(f"run {run_id!r}: a model of its suite is another than when it began; start a new run")
    deployed = Counter(planned_name(record.deployment_id) for record in records if isinstance(record, DeploymentRecord))
    ends = [record for record in records if isinstance(record, RunFinished)]
    return Request(
        run_id,
        suite,
        begun.suite_yaml,
        whole,
        _renamed(remaining(whole, done), deployed),
        started=True,
        earlier_ns=ends[-1].spent_ns if ends else {},
        folder=folder,
        peaks=_peaks(records),
        contained=ENGINE in begun.context,
    )


def check_traces(plan: Plan) -> str:
    """Read every trace of ``plan``; their hashes. `UsageError` names the line that is wrong, before any work."""
    loads = {cell.load for cell in plan.cells}
    traces = {load.trace for load in loads if isinstance(load, OpenLoop) and load.trace is not None}
    for trace in traces:
        read_trace(trace)
    return ",".join(sorted(trace.sha256 for trace in traces))


def unfinished(settings: Settings) -> str:
    """The run id of the newest run that was begun here and not completed."""
    here = machine.hardware(machine.placement())
    for path in sorted(settings.spool.glob("*.jsonl"), reverse=True):
        records = spool.read(path).records
        begun = next((record for record in records if isinstance(record, RunStarted)), None)
        ends = [record.status for record in records if isinstance(record, RunFinished)]
        if begun and begun.hardware == here and "completed" not in ends and not spool.is_written(path):
            return path.stem
    raise UsageError("--resume: no run on this machine is unfinished; start one with `nightbench run SUITE`")


def _peaks(records: Iterable[Record]) -> dict[tuple[str, Protocol, int], Peak]:
    """A search that is done is not done again; what it found holds for the rest of its round."""
    found: dict[tuple[str, Protocol, int], Peak] = {}
    for record in records:
        if isinstance(record, MeasurementRecord) and record.search is not None:
            peak = Peak.of(record.case.load, record.search)
            if peak is not None:
                found[planned_name(record.deployment_id), record.case.protocol, record.case.batch] = peak
    return found


def _renamed(plan: Plan, deployed: Mapping[str, int]) -> Plan:
    """The plan with new names for what was deployed before: made again, it is another replicate."""
    replicates = tuple(
        replace(each, deployment_id=f"{each.deployment_id}.{deployed[each.deployment_id] + 1}")
        if deployed.get(each.deployment_id)
        else each
        for each in plan.replicates
    )
    return replace(plan, replicates=replicates)
