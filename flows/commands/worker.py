"""`nightbench worker`."""

import os
import sys

from flows.commands.deploy import reach_prefect
from flows.console import open_console
from launch.reaper import reap
from nightbench.settings import Settings

__all__ = ["worker"]


def worker() -> None:
    """Do what is due for machines of this kind, one run at a time, until it is stopped."""
    settings, console = Settings.from_environment(), open_console()
    orphans = sum(found.kind == "process" for found in reap())
    if orphans:
        console.print(f"ended {orphans} processes that a killed run had left")
    api_url = reach_prefect(settings, console)
    from prefect.client.orchestration import get_client

    from flows.marks import settle_dead
    from flows.pools import ensure_pool, pool_name

    pool = pool_name(settings)
    with get_client(sync_client=True) as client:
        made = ensure_pool(client, pool)
    for line in filter(None, [made, *(f"flow run {each}: its process is dead" for each in settle_dead(settings))]):
        console.print(line, markup=False)
    console.print(
        f"worker {settings.machine}: takes what is due in pool {pool}; Prefect: {api_url.removesuffix('/api')}"
    )
    sys.stdout.flush()
    # One run at a time: another stays in the pool, where a machine of the same kind that is free can take it.
    options = ["--pool", pool, "--name", settings.machine, "--type", "process", "--limit", "1"]
    command = [sys.executable, "-m", "prefect", "worker", "start", *options, "--install-policy", "never"]
    # Prefect's worker in place of this process: it gets the signals itself.
    os.execve(sys.executable, command, {**os.environ, "PREFECT_LOGGING_LEVEL": "WARNING"})  # noqa: S606 - no shell
