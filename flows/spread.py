"""Load from several machines: Prefect's workers take the parts, since they are on those machines already."""

from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from prefect import State, flow, states
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelling

from flows.artifacts import PrefectProgress
from flows.cancellation import CancelWatch
from flows.marks import marked
from flows.turn import turn
from launch.device import exclusive
from nightbench.errors import NightbenchError
from nightbench.settings import Settings
from nightbench.stopping import Stopped
from tasks.opening import LOCK
from tasks.spread import send_part
from tasks.store import open_store

__all__ = ["NAME", "load_part", "start_part"]

NAME = "load-part"


@flow(name=NAME, flow_run_name="{spread_id}-{machine}", persist_result=False)
def load_part(spread_id: str, machine: int) -> State[None] | None:
    """Send this machine's part of a load that several machines share; `nightbench sweep --machines` asks for it.

    Args:
        spread_id: The load, as whoever asked for it wrote it into the database.
        machine: Which part of it, from 0.
    """
    settings = Settings.from_environment()
    flow_run_id, progress = UUID(str(flow_run.id)), PrefectProgress()
    try:
        with (
            marked(settings, flow_run_id),
            CancelWatch(flow_run_id) as cancelled,
            turn(settings.machine, progress, cancelled),
            # A run outside Prefect measures under this lock alone.
            exclusive(LOCK, lambda: progress.note("another run is measuring here; waiting for it to end"), cancelled),
            open_store(settings) as store,
        ):
            send_part(store, spread_id, machine, settings.machine, cancelled)
    except Stopped as stopped:
        return states.Cancelled(message=str(stopped))
    return None


def start_part(pool: str, spread_id: str, machine: int) -> Callable[[], None]:
    """Have a worker of ``pool`` take a part; what is given back ends its run if that goes on.

    `NightbenchError` if there is no such deployment.
    """
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"{NAME}/{NAME}-{pool}")
        except ObjectNotFound as error:
            raise NightbenchError(
                f"machines: pool {pool} has no deployment for parts of a load; run `nightbench deploy` on one of them"
            ) from error
        parameters = {"spread_id": spread_id, "machine": machine}
        run_id = client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id

    def end() -> None:
        # It may be over, or the server away: nobody waits for the part in either case.
        with suppress(Exception), get_client(sync_client=True) as client:
            state = client.read_flow_run(run_id).state
            if state is not None and not state.is_final():
                client.set_flow_run_state(run_id, Cancelling(), force=True)

    return end
