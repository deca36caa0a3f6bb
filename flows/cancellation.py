"""Whether somebody pressed Cancel on the flow run, asked often and answered cheaply."""

import time
from collections.abc import Callable
from uuid import UUID

from prefect.client.orchestration import get_client

__all__ = ["asked_to_cancel"]

INTERVAL_S = 2.0


def asked_to_cancel(flow_run_id: UUID) -> Callable[[], bool]:
    """A function that says whether the run is being cancelled; it asks the server at most every two seconds.

    A server that does not answer has not asked for anything: the night goes on.
    """
    asked_at = time.monotonic()
    cancelled = False

    def answer() -> bool:
        nonlocal asked_at, cancelled
        if cancelled or time.monotonic() - asked_at < INTERVAL_S:
            return cancelled
        asked_at = time.monotonic()
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(flow_run_id).state
        except Exception:  # noqa: BLE001 - whatever ails the API, it is no request to stop
            return False
        cancelled = state is not None and (state.is_cancelling() or state.is_cancelled())
        return cancelled

    return answer
