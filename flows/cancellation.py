"""Whether somebody pressed Cancel on the flow run: looked up beside the night, never by the thread that measures."""

import threading
from contextlib import suppress
from types import TracebackType
from uuid import UUID

from prefect.client.orchestration import get_client

__all__ = ["CancelWatch"]

_INTERVAL_S = 2.0


class CancelWatch:
    """Asks the Prefect server now and then, and answers at once from what it last said.

    A server that does not answer has not asked for anything: the night goes on.
    """

    def __init__(self, flow_run_id: UUID) -> None:
        self._flow_run_id = flow_run_id
        self._cancelled = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cancel-watch", daemon=True)

    def __enter__(self) -> "CancelWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not joined: it may be waiting for a server that is gone.
        self._over.set()

    def __call__(self) -> bool:
        """Whether the run is being cancelled, as of the last answer."""
        return self._cancelled.is_set()

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL_S) and not self._cancelled.is_set():
            # Whatever ails the API, it is no request to stop.
            with suppress(Exception), get_client(sync_client=True) as client:
                state = client.read_flow_run(self._flow_run_id).state
                if state is not None and (state.is_cancelling() or state.is_cancelled()):
                    self._cancelled.set()
