"""Which process works on which flow run: a run whose process was killed must not be shown as running for ever.

Each process leaves a mark in a folder of this machine while it works. Whoever starts next finds the marks of the dead
and tells Prefect. A machine that never comes back is told of by an automation (`flows.automations`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from launch.labels import Owner
from nightbench.settings import Settings

__all__ = ["marked", "settle_dead"]

_MESSAGE = "The process that worked on it was killed; `nightbench run --resume` does the rest."

_UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def _folder(settings: Settings) -> Path:
    return settings.services / "flow-runs"


@contextmanager
def marked(settings: Settings, flow_run_id: UUID) -> Iterator[None]:
    """This process works on that flow run until the block ends."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / str(flow_run_id)
    half = mark.with_suffix(f".{os.getpid()}")
    half.write_text(Owner.current().label, encoding="utf-8")
    # Whole or not at all: a reader must not take half a label for a stranger's.
    half.replace(mark)
    try:
        yield
    except Exception:
        mark.unlink(missing_ok=True)
        raise
    # Told to stop (SIGTERM, Ctrl-C), there may be nobody left to tell Prefect: then the mark stays for whoever is next.
    mark.unlink(missing_ok=True)


def settle_dead(settings: Settings) -> list[UUID]:
    """Tell Prefect of every flow run whose process is dead, and forget its mark; those that still counted as running.

    A Prefect that cannot be asked is asked again the next time.
    """
    settled: list[UUID] = []
    for mark in sorted(_folder(settings).glob("*")):
        try:
            owner, flow_run_id = Owner.of_label(mark.read_text(encoding="utf-8")), UUID(mark.name)
        except (OSError, ValueError):
            continue  # Another was quicker, or it is a mark in the making.
        if owner is None or not owner.dead:
            continue
        with suppress(Exception), get_client(sync_client=True) as client:
            if _settle(client, flow_run_id):
                settled.append(flow_run_id)
            mark.unlink(missing_ok=True)
    return settled


def _settle(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    """End what Prefect still takes for unfinished: the run, the runs in it, and their tasks; whether the run was."""
    try:
        state = client.read_flow_run(flow_run_id).state
    except ObjectNotFound:
        return False
    children = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
        )
    )
    for child in children:
        client.set_flow_run_state(child.id, Crashed(message=_MESSAGE), force=True)
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id, *(child.id for child in children)])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED))),
    )
    for each in tasks:
        client.set_task_run_state(each.id, Crashed(message=_MESSAGE), force=True)
    if state is None or state.is_final():
        return False
    ended: State = Cancelled(message=_MESSAGE) if state.is_cancelling() else Crashed(message=_MESSAGE)
    client.set_flow_run_state(flow_run_id, ended, force=True)
    return True
