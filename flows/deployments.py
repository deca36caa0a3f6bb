"""What shall be deployed in Prefect, as plain data, and the way there: done again, nothing changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema

from flows.form import night_form
from flows.maintenance import maintenance
from flows.nightly import nightly
from flows.reruns import bisect_alert, confirm_alert
from flows.spread import load_part
from nightbench.catalog import Catalog

__all__ = ["NIGHT", "Wanted", "apply", "suite_tag", "wanted"]

NIGHT = "night"
"""The tag of the one deployment of a pool that has a schedule."""
MAINTENANCE_CRON = "0 16 * * *"
"""In the afternoon: a night that began in the small hours is missing by then."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One deployment as it shall be."""

    flow: Flow[..., Any]
    name: str
    pool: str
    description: str
    tags: tuple[str, ...]
    schema: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    schedule: CronSchedule | None = None

    @property
    def full_name(self) -> str:
        return f"{self.flow.name}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """A module and not a file: every worker has nightbench installed, if not in the same place."""
        return f"{self.flow.fn.__module__}.{self.flow.fn.__name__}"


def suite_tag(suite: str) -> str:
    """Of every deployment that measures a suite, by which `flows.trigger` finds it."""
    return f"suite:{suite}"


def wanted(pool: str, suites: Mapping[str, str], night: str, schedule: CronSchedule, catalog: Catalog) -> list[Wanted]:
    """Everything that a pool shall have: each suite to be started by hand, ``night`` by the schedule as well, re-runs,
    and maintenance.

    ``suites`` has the value of the flow's parameter by the suite's name.
    """
    form = night_form(_schema(nightly), catalog, suites.values())
    nights = [
        Wanted(
            nightly,
            f"{name}-{pool}",
            pool,
            f"The suite {name} on a machine of pool {pool}" + (", every night" if name == night else ""),
            (suite_tag(name), f"pool:{pool}", *([NIGHT] if name == night else [])),
            form,
            {"suite": value},
            schedule if name == night else None,
        )
        for name, value in sorted(suites.items())
    ]
    others: list[Wanted] = [
        _plain(confirm_alert, "confirm", pool, "Re-run what an alert is about: last-good against that night"),
        _plain(bisect_alert, "bisect", pool, "Find out which of the things that changed makes a server slow"),
        _plain(load_part, load_part.name, pool, "Send this machine's part of a load that several machines share"),
        _plain(
            maintenance,
            "maintenance",
            pool,
            "Ingest the spool, make and drop partitions, look for missing nights",
            CronSchedule(cron=MAINTENANCE_CRON, timezone=schedule.timezone),
        ),
    ]
    return nights + others


def _plain(
    flow: Flow[..., Any], name: str, pool: str, description: str, schedule: CronSchedule | None = None
) -> Wanted:
    return Wanted(flow, f"{name}-{pool}", pool, description, (name, f"pool:{pool}"), _schema(flow), {}, schedule)


def _schema(flow: Flow[..., Any]) -> dict[str, Any]:
    return parameter_schema(flow.fn).model_dump_for_openapi()


def apply(client: SyncPrefectClient, each: Wanted) -> str:
    """Make ``each`` as it shall be; what that changed in words, or nothing.

    A schedule that somebody paused stays paused.
    """
    try:
        there = client.read_deployment_by_name(each.full_name)
    except ObjectNotFound:
        there = None
    changes = [] if there is None else _differences(there, each)
    if there is not None and not changes:
        return ""
    active = not any(not schedule.active for schedule in there.schedules) if there is not None else True
    client.create_deployment(
        flow_id=client.create_flow_from_name(each.flow.name),
        name=each.name,
        schedules=[DeploymentScheduleCreate(schedule=each.schedule, active=active)] if each.schedule else [],
        parameters=dict(each.parameters),
        description=each.description,
        work_pool_name=each.pool,
        tags=list(each.tags),
        path=".",
        entrypoint=each.entrypoint,
        pull_steps=[],
        parameter_openapi_schema=dict(each.schema),
        enforce_parameter_schema=True,
    )
    return f"deployment {each.full_name}: " + (f"{', '.join(changes)} changed" if changes else "made")


def _differences(there: DeploymentResponse, each: Wanted) -> list[str]:
    """The names of what is not as it shall be."""
    schedules = [_cron(schedule.schedule) for schedule in there.schedules]
    pairs: dict[str, tuple[object, object]] = {
        "work pool": (there.work_pool_name, each.pool),
        "description": (there.description, each.description),
        "tags": (sorted(there.tags), sorted(each.tags)),
        "entrypoint": (there.entrypoint, each.entrypoint),
        "parameters": (there.parameters, dict(each.parameters)),
        "form": (there.parameter_openapi_schema, dict(each.schema)),
        "schedule": (schedules, [_cron(each.schedule)] if each.schedule else []),
    }
    return [name for name, (is_there, shall) in pairs.items() if is_there != shall]


def _cron(schedule: object) -> tuple[str, str | None] | None:
    return (schedule.cron, schedule.timezone) if isinstance(schedule, CronSchedule) else None
