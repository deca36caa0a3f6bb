"""The same input to several running servers, answers and latencies side by side."""

from collections.abc import Sequence
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request

from api.ask import ask_all
from api.asked import InferenceAsked
from api.changes import change
from api.guard import actor_of, caller, guarded, services_of
from api.problems import problems
from api.progress import SpoolWatch
from api.servers_asked import Ports, endpoints_of, inputs_of
from api.services import Services
from api.shapes import InferenceCompared
from nightbench.access import Actor, ApiKey, Conflict, Role
from nightbench.errors import UsageError, nearest
from tasks.live import Live, live_deployments

__all__ = ["router"]

router = guarded(Role.OPERATOR)
_one_at_a_time = Lock()


@router.post("/inference", tags=["changes"], responses=problems(404, 409, 413))
def inference(
    request: Request,
    asked: InferenceAsked,
    services: Annotated[Services, Depends(services_of)],
    actor: Annotated[Actor, Depends(actor_of)],
    key: Annotated[ApiKey, Depends(caller)],
) -> InferenceCompared:
    """Send one input to running servers, one after another, and compare what they answer with what the first did.

    Latencies are of single requests that connect first: a look, and no measurement.
    """
    servers = [each.deployment or each.url for each in asked.servers]
    what = {"model": asked.model, "batch": asked.batch, "servers": servers, "disturb": asked.disturb}
    with change(services.store, actor, "inference", what) as begun:
        if asked.model not in services.catalog.models:
            raise UsageError(f"model: {asked.model!r} is unknown; {nearest(asked.model, services.catalog.models)}")
        model = services.catalog.models[asked.model]
        live = live_deployments(services.live)
        open_ports = None if key.role.covers(Role.ADMIN) else services.inference_ports
        endpoints = endpoints_of(asked, model, live, Ports(services.own_ports(), open_ports))
        inputs = inputs_of(asked, model)
        if not _one_at_a_time.acquire(blocking=False):
            raise Conflict("another comparison is under way, and two would slow each other down; ask again soon")
        try:
            if not asked.disturb:
                _check_quiet(live, request.app.state.watch)
            answers = ask_all(
                model, inputs, endpoints, repeats=asked.repeats, timeout_s=asked.timeout_s, values=asked.values
            )
        finally:
            _one_at_a_time.release()
        good = sum(answer.outcome == "ok" for answer in answers)
        begun.detail = f"{good} of {len(answers)} answered"
    return InferenceCompared(asked.model, asked.batch, tuple(answers))


def _check_quiet(live: Sequence[Live], watch: SpoolWatch) -> None:
    """`Conflict` while a run goes on here: any server that works takes time of the processors that it measures on. A
    run that begins a moment later is not seen."""
    runs = sorted({each.run_id for each in live} | {each.run_id for each in watch.running()})
    if runs:
        raise Conflict(
            f"run {runs[0]} is measuring on this machine, and to ask any server meanwhile may spoil its figures; wait "
            "for the run's end, or send 'disturb': true"
        )
