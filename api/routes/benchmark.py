"""Starting a run."""

from typing import Annotated

from fastapi import Depends

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
) -> BenchmarkStarted:
    """Start a run of a suite's deployment. It waits its turn where another run measures on the same device."""
    parameters = {} if asked.seed is None else {"seed": asked.seed}
    what = {"suite": asked.suite, **parameters}
    with change(services.store, actor, "benchmark.start", what) as begun:
        flow_run_id = services.start_run(asked.suite, parameters)
        begun.detail = f"flow run {flow_run_id}"
    return BenchmarkStarted(flow_run_id, asked.suite)
