"""Starting a run."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Header

from api.asked import BenchmarkAsked
from api.changes import change
from api.guard import actor_of, guarded, services_of
from api.problems import problems
from api.services import Services
from api.shapes import BenchmarkStarted
from nightbench.access import Actor, Role

__all__ = ["router"]

router = guarded(Role.OPERATOR)


@router.post("/benchmark", status_code=202, tags=["changes"], responses=problems(413))
def benchmark(
    asked: BenchmarkAsked,
    services: Annotated[Services, Depends(services_of)],
    actor: Annotated[Actor, Depends(actor_of)],
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[!-~]{1,128}$",
            max_length=128,
            description="Any word of your own. Asked again with it, and for the same, it is the same run.",
        ),
    ] = None,
) -> BenchmarkStarted:
    """Start a run of a suite's deployment. It waits its turn where another run measures on the same device."""
    parameters = {} if asked.seed is None else {"seed": asked.seed}
    what: dict[str, str | int] = {"suite": asked.suite, **parameters}
    once = None
    if idempotency_key is not None:
        once = _of_request(actor, what, idempotency_key)
        what["idempotency_key"] = idempotency_key
    with change(services.store, actor, "benchmark.start", what) as begun:
        flow_run_id = services.start_run(asked.suite, parameters, once)
        begun.detail = f"flow run {flow_run_id}"
    return BenchmarkStarted(flow_run_id, asked.suite)


def _of_request(actor: Actor, what: Mapping[str, str | int], word: str) -> str:
    """Prefect knows a key among all that are given for the flow, which every suite shares: another caller's, or
    another request with the same word, is not this one."""
    return sha256(json.dumps([actor.key_id, dict(what), word], sort_keys=True).encode()).hexdigest()
