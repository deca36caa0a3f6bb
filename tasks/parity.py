"""Stage: does a deployment still say what PyTorch said? Asked over each wire, at each batch size, before timing."""

from collections.abc import Sequence

from loadgen.pool import Pool
from loadgen.rehearsal import rehearse_server
from nightbench.parity import OutputParity, tolerance_at
from nightbench.record import WireParityRecord
from nightbench.server import Protocol
from nightbench.stopping import Stopped
from tasks.session import Session
from tasks.subject import Subject

__all__ = ["check_wire", "keep"]

_BY_ROOT = (
    "its user may not open root's shared memory; run nightbench as another user, or the server as a process "
    "(launcher: process)"
)
_BY_SETTING = (
    "it may share no memory with the load engine (NIGHTBENCH_SHARED_MEMORY is 'no', as in the compose stack); run "
    "nightbench outside of it, or the server as a process (launcher: process)"
)
"""The two reasons there are (`launch.container.spoken`)."""


def check_wire(session: Session, subject: Subject) -> None:
    """Ask a deployment for the whole pool by every protocol and batch size that its cells use; leave the figures.

    Cells of those that fail are not timed: `tasks.measure.measure` leaves them out. A model that the load engine hosts
    is not loaded once more for this: the engine of the first cell of its kind asks it, before timing.
    """
    session.check_stop()
    deployment, setup = subject.deployment, subject.replicate.setup
    model = session.catalog.models[setup.export.model]
    if deployment.in_process:
        return
    session.progress.doing(f"round {subject.replicate.round}: checking the answers of {setup.server}")
    pool = Pool.read(subject.exported.pool.path, model.inputs, model.outputs)
    tolerance = tolerance_at(model, setup.export.precision, setup.export.weights)
    deployment_id = subject.replicate.deployment_id
    for protocol, batch in dict.fromkeys((cell.protocol, cell.batch) for cell in subject.replicate.cells):
        endpoint = deployment.endpoints.get(protocol)
        if endpoint is None:
            kind = (deployment_id, protocol, batch)
            why_not = _BY_ROOT if session.settings.shared_memory else _BY_SETTING
            session.known.parity[kind] = f"{protocol} cannot be spoken to this container: {why_not}"
            session.known.unanswered.add(kind)
            continue
        try:
            found = rehearse_server(endpoint, model, pool, batch, tolerance, session.should_stop)
        except Stopped as stopped:
            raise session.cancelled() from stopped
        keep(session, subject, protocol, batch, found)


def keep(session: Session, subject: Subject, protocol: Protocol, batch: int, found: Sequence[OutputParity]) -> None:
    """Leave a record an output, and remember whether cells of this protocol and batch size may be timed."""
    deployment_id, setup = subject.replicate.deployment_id, subject.replicate.setup
    for each in found:
        session.record(
            WireParityRecord(
                run_id=session.run_id,
                deployment_id=deployment_id,
                model=setup.export.model,
                format=setup.export.format,
                precision=setup.export.precision,
                artifact_sha256=subject.exported.artifact.sha256,
                server=setup.server,
                protocol=protocol,
                batch=batch,
                output=each.output,
                max_abs=each.max_abs,
                max_rel=each.max_rel,
                rmse=each.rmse,
                nrmse=each.nrmse,
                cosine=each.cosine,
                top1_agreement=each.top1_agreement,
                top5_agreement=each.top5_agreement,
                items=each.items,
                answered=each.answered,
                passed=each.passed,
                detail=each.detail,
            )
        )
    wrong = next((f"output {each.output!r} {each.detail}" for each in found if not each.passed), "")
    if wrong:
        session.progress.note(f"{setup.server} by {protocol} at batch {batch}: {wrong}")
    session.known.parity[deployment_id, protocol, batch] = wrong
    if not all(each.answered for each in found):
        session.known.unanswered.add((deployment_id, protocol, batch))
