"""What Prefect does by itself when a night goes wrong: its server sees to it, so a dead worker is told of too."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from prefect.blocks import notifications
from prefect.blocks.abstract import NotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, DoNothing, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from flows.deployments import NIGHT
from flows.notify import EVENTS
from nightbench.errors import UsageError
from nightbench.judge.alert import AlertKind

__all__ = ["apply", "blocks_of", "longest_gap", "wanted"]

_LATE = timedelta(minutes=30)
_SILENT = timedelta(minutes=6)
"""Six heartbeats (`flows.prefect_settings`), and longer than a server takes to restart."""
_ALLOWANCE = timedelta(hours=12)
_OURS = ["nightly", "benchmark", "confirm", "maintenance", "confirm-alert", "bisect-alert", "load-part"]
_ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
_RUN = "{{ flow_run.name }}: {{ flow_run.state.message }} {{ flow_run|ui_url }}"


def longest_gap(dates: Sequence[datetime]) -> timedelta:
    """How long there may be no night: the longest time between two of ``dates``, and half a day for the night itself.

    `UsageError` if there are no two: then it is no schedule of nights.
    """
    gaps = [later - earlier for earlier, later in pairwise(dates)]
    if not gaps:
        raise UsageError("--cron: never comes twice; give one such as '30 3 * * *'")
    return max(gaps) + _ALLOWANCE


def blocks_of(client: SyncPrefectClient, channels: Sequence[str]) -> tuple[list[UUID], list[str]]:
    """The blocks that Prefect's server can send through by itself, and what is wrong with the others, in words."""
    # Its server has imported these, and none of ours.
    every = (each for each in vars(notifications).values() if isinstance(each, type))
    of_prefect = {each.get_block_type_slug() for each in every if issubclass(each, NotificationBlock)}
    found: list[UUID] = []
    troubles: list[str] = []
    for channel in channels:
        kind, _, name = channel.partition("/")
        try:
            block = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            troubles.append(f"{channel}: there is no such block in Prefect; make it, and deploy again")
            continue
        if kind not in of_prefect:
            troubles.append(f"{channel}: is no type of Prefect's own, so that its server cannot tell there of failures")
        else:
            found.append(block.id)
    return found, troubles


def wanted(pool: str, gap: timedelta, blocks: Sequence[UUID], confirm: UUID) -> list[AutomationCore]:
    """The automations of a pool; ``confirm`` is its deployment that re-runs an alert."""
    night, of_pool = _related("tag", f"prefect.tag.{NIGHT}"), _related("work-pool", None, [pool])
    runs = ResourceSpecification.model_validate({"prefect.resource.id": "prefect.flow-run.*"})
    each_run = {"prefect.resource.id"}

    def tell(subject: str, body: str) -> list[ActionTypes]:
        sent: list[ActionTypes] = [
            SendNotification(block_document_id=block, subject=f"nightbench: {subject}", body=body) for block in blocks
        ]
        # Without a channel it is still shown in Prefect when it came to this.
        return sent or [DoNothing()]

    return [
        AutomationCore(
            name=f"nightbench {pool}: a night failed",
            description="A night came to no good end: tell people.",
            trigger=EventTrigger(
                match=runs,
                match_related=[night, of_pool],
                expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
                posture=Posture.Reactive,
                for_each=each_run,
            ),
            actions=tell(f"a night on {pool} {{{{ flow_run.state.name }}}}", _RUN),
        ),
        AutomationCore(
            name=f"nightbench {pool}: a night is late",
            description="No worker has taken a night that was due half an hour ago: tell people.",
            trigger=EventTrigger(
                match=runs,
                match_related=[night, of_pool],
                after={"prefect.flow-run.Late"},
                expect={"prefect.flow-run.Pending", "prefect.flow-run.Running", *_ENDS},
                posture=Posture.Proactive,
                for_each=each_run,
                within=_LATE,
            ),
            actions=tell(f"a night on {pool} is late", f"No worker of pool {pool} has begun it. {_RUN}"),
        ),
        AutomationCore(
            name=f"nightbench {pool}: a night is missing",
            description="No night has completed for longer than the schedule allows: tell people.",
            trigger=EventTrigger(
                match=runs,
                match_related=[night, of_pool],
                expect={"prefect.flow-run.Completed"},
                posture=Posture.Proactive,
                within=gap,
            ),
            actions=tell(f"nights on {pool} are missing", f"None has completed for {gap}."),
        ),
        AutomationCore(
            name=f"nightbench {pool}: confirm a regression",
            description="A night had no time to decide whether a server is slower: re-run it.",
            trigger=EventTrigger(
                match=ResourceSpecification.model_validate({"prefect.resource.id": "nightbench.alert.*"}),
                match_related=[of_pool],
                expect={EVENTS[AlertKind.UNCONFIRMED]},
                posture=Posture.Reactive,
                for_each=each_run,
            ),
            actions=[
                RunDeployment(
                    source="selected", deployment_id=confirm, parameters={"alert": _ALERT}, job_variables=None
                )
            ],
        ),
        AutomationCore(
            name=f"nightbench {pool}: a run fell silent",
            description="The machine of a run has not been heard of: it does not go on for ever.",
            trigger=EventTrigger(
                match=runs,
                match_related=[_related("flow", None, _OURS), of_pool],
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *_ENDS},
                posture=Posture.Proactive,
                for_each=each_run,
                within=_SILENT,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    name="Crashed",
                    force=False,
                    message=f"Nothing was heard of it for {_SILENT.seconds // 60} minutes.",
                )
            ],
        ),
    ]


_ALERT = {
    # A template alone gives a text, and the number is none.
    "__prefect_kind": "json",
    "value": {"__prefect_kind": "jinja", "template": "{{ event.payload.alert }}"},
}


def _related(role: str, resource: str | None, names: Sequence[str] = ()) -> ResourceSpecification:
    labels: dict[str, str | list[str]] = {"prefect.resource.role": role}
    if resource is not None:
        labels["prefect.resource.id"] = resource
    if names:
        labels["prefect.resource.name"] = list(names)
    return ResourceSpecification.model_validate(labels)


def apply(client: SyncPrefectClient, each: AutomationCore) -> str:
    """Make ``each`` as it shall be; what that changed in words, or nothing. One that somebody switched off stays so."""
    there = next(iter(client.read_automations_by_name(each.name)), None)
    if there is None:
        client.create_automation(each)
        return f"automation {each.name}: made"
    if (there.description, there.trigger, there.actions) == (each.description, each.trigger, each.actions):
        return ""
    client.update_automation(there.id, each.model_copy(update={"enabled": there.enabled}))
    return f"automation {each.name}: changed"
