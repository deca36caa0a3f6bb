"""`nightbench deploy`."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flows.console import open_console
from flows.registry import SUITES, load_catalog, suite_path
from launch.here import unmet
from nightbench.catalog import Catalog, resolve
from nightbench.errors import UsageError, nearest
from nightbench.settings import Settings
from nightbench.suite import load_suite

if TYPE_CHECKING:
    from prefect.client.schemas.schedules import CronSchedule

__all__ = ["deploy", "reach_prefect"]

_NIGHTS = 400
"""More than a year of them: the longest gap of a schedule of nights is among these."""


def deploy(
    *files: Path, night: str = "nightly", cron: str | None = None, time_zone: str | None = None, pool: str | None = None
) -> None:
    """Put the nightly schedule and everything to be started by hand into Prefect, and say what that changed.

    Run it on a machine of each kind, and again after suites, servers or models were added. Done again, it changes
    nothing.

    Parameters
    ----------
    files
        Suite files of your own, beside the suites that come with nightbench.
    night
        The suite that is measured every night.
    cron
        When; by default NIGHTBENCH_CRON, or half past three.
    time_zone
        By the clock of which zone; by default NIGHTBENCH_TIME_ZONE, or UTC.
    pool
        The work pool of machines of this kind; by default NIGHTBENCH_POOL, or named by what this machine has.
    """
    asked = {"NIGHTBENCH_CRON": cron, "NIGHTBENCH_TIME_ZONE": time_zone, "NIGHTBENCH_POOL": pool}
    settings = Settings.from_environment({**os.environ, **{name: value for name, value in asked.items() if value}})
    console, catalog = open_console(), load_catalog(Settings.from_environment())
    suites, left_out = _suites(files, catalog)
    if night not in suites:
        why = left_out.get(night) or nearest(night, suites)
        raise UsageError(f"--night: {night!r} is no suite that can be deployed here; {why}")
    reach_prefect(settings, console)
    for name, why in left_out.items():
        console.print(f"suite {name}: left out: {why}", markup=False)
    for line in _applied(settings, suites, night, catalog):
        console.print(line, markup=False, soft_wrap=True)
    console.print("`nightbench worker` on each machine of the pool does what is due")


def reach_prefect(settings: Settings, console: Console) -> str:
    """Configure this process for the user's own Prefect server, or ours, started if need be; its API's address."""
    from flows.prefect_settings import configure
    from flows.services import answers, prefect_up

    own = os.environ.get("PREFECT_API_URL")
    if own and not answers(own):
        raise UsageError(f"environment: PREFECT_API_URL: {own} does not answer; start it, or unset it to use ours")
    with console.status("starting Prefect"):
        api_url = own or prefect_up(settings).api_url
    configure(settings, api_url)
    return api_url


def _suites(files: tuple[Path, ...], catalog: Catalog) -> tuple[dict[str, str], dict[str, str]]:
    """What the flow's parameter is for each suite that can be measured on this machine, and why others cannot.

    `UsageError` if a file of the user's is wrong, or has the name of another suite.
    """
    found: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for path in [*sorted(SUITES.glob("*.yaml")), *(suite_path(str(file)) for file in files)]:
        suite, _ = load_suite(path)
        plan = resolve(suite, catalog, str(path))
        if suite.name in found:
            raise UsageError(f"{path}: name: {suite.name!r} is the name of another suite; give it one of its own")
        known = catalog.with_external(suite).servers
        lacking = [unmet(known[each.setup.server], each.setup.options_map) for each in plan.replicates]
        if all(lacking):
            left_out[suite.name] = (
                f"this machine lacks {', '.join(sorted({what for each in lacking for what in each}))}"
            )
        else:
            found[suite.name] = path.stem if path.parent == SUITES else str(path.absolute())
    return found, left_out


def _applied(settings: Settings, suites: dict[str, str], night: str, catalog: Catalog) -> list[str]:
    """Bring Prefect to where it shall be; a line for each thing that was changed."""
    from prefect.client.orchestration import get_client

    from flows import automations, deployments
    from flows.pools import ensure_pool, pool_name
    from flows.turn import limit_name

    schedule = _schedule(settings.cron, settings.time_zone)
    pool = pool_name(settings)
    # Before anything is changed: a schedule that never comes is refused here.
    gap = automations.longest_gap(_dates(settings))
    with get_client(sync_client=True) as client:
        lines = [ensure_pool(client, pool)]
        client.upsert_global_concurrency_limit_by_name(limit_name(settings.machine), 1)
        every = deployments.wanted(pool, suites, night, schedule, catalog)
        lines += [deployments.apply(client, each) for each in every]
        confirm = client.read_deployment_by_name(f"confirm-alert/confirm-{pool}").id
        blocks, troubles = automations.blocks_of(client, settings.notify)
        lines += [automations.apply(client, each) for each in automations.wanted(pool, gap, blocks, confirm)]
    return [*(filter(None, lines) if any(lines) else ["nothing had to be changed"]), *troubles]


def _schedule(cron: str, time_zone: str) -> "CronSchedule":
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        return CronSchedule(cron=cron, timezone=time_zone)
    except ValidationError as error:
        raise UsageError(
            f"--cron: {cron!r} is no cron line; write minute hour day month weekday: '30 3 * * *'"
        ) from error


def _dates(settings: Settings) -> list[datetime]:
    """When the coming nights begin, as Prefect's server will reckon it."""
    from prefect.server.schemas.schedules import CronSchedule

    schedule = CronSchedule(cron=settings.cron, timezone=settings.time_zone)
    try:
        return list(asyncio.run(schedule.get_dates(n=_NIGHTS, start=datetime.now(UTC))))
    except ValueError:
        # How its cron reader says that there is no such day, the thirtieth of February say.
        return []
