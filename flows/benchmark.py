"""One deployment and its cells as a Prefect flow run of its own, so that the UI shows each server by itself."""

from collections.abc import Callable
from contextvars import ContextVar

from prefect import flow

__all__ = ["BODY", "benchmark"]

BODY: ContextVar[Callable[[], None]] = ContextVar("benchmark_body")
"""What the next run does. A deployment is live state and cannot travel as a flow parameter."""


@flow(name="benchmark", flow_run_name="{server} {model} round {round_number}", persist_result=False)
def benchmark(server: str, model: str, round_number: int, cells: int) -> None:
    """Deploy one server afresh, measure its cells, take it down.

    Args:
        server: Which inference server.
        model: Which model it serves.
        round_number: Which round of the night this start belongs to.
        cells: How many cells are measured on it.
    """
    BODY.get()()
