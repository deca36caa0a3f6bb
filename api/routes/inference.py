"""The same input to several running servers, answers and latencies side by side."""

from threading import Lock
from typing import Annotated

from fastapi import Depends

from api.ask import ask_all
from api.asked import InferenceAsked
from api.changes import change
from api.guard import actor_of, guarded, services_of
from api.problems import problems
from api.servers_asked import endpoints_of, inputs_of
from api.services import Services
from api.shapes import InferenceCompared
from nightbench.access import Actor, Conflict, Role
from nightbench.errors import UsageError, nearest
from tasks.live import live_deployments

__all__ = ["router"]

router = guarded(Role.OPERATOR)
_one_at_a_time = Lock()


@router.post("/inference", tags=["changes"], responses=problems(404, 409, 413))
def inference(
    asked: InferenceAsked,
    services: Annotated[Services, Depends(services_of)],
    actor: Annotated[Actor, Depends(actor_of)],
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
        endpoints = endpoints_of(asked, model, live, services.own_ports())
        inputs = inputs_of(asked, model)
        if not _one_at_a_time.acquire(blocking=False):
            raise Conflict("another comparison is under way, and two would slow each other down; ask again soon")
        try:
            answers = ask_all(
                model, inputs, endpoints, repeats=asked.repeats, timeout_s=asked.timeout_s, values=asked.values
            )
        finally:
            _one_at_a_time.release()
        good = sum(answer.outcome == "ok" for answer in answers)
        begun.detail = f"{good} of {len(answers)} answered"
    return InferenceCompared(asked.model, asked.batch, tuple(answers))
