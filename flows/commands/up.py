"""`nightbench up`."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from flows.console import open_console
from nightbench.settings import Settings

__all__ = ["up"]


def up(*, compose: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Start the embedded database and the Prefect server, and leave them running.

    Parameters
    ----------
    compose
        Instead, the whole stack of docker-compose.yml, in containers; prints its addresses.
    """
    settings, console = Settings.from_environment(), open_console()
    if compose:
        _stack(settings, console)
    else:
        _embedded(settings, console)


def _embedded(settings: Settings, console: Console) -> None:
    from flows.services import prefect_up, start_database

    with console.status("starting the database"):
        start_database(settings)
    console.print("database: " + ("yours" if settings.database_url else "embedded Postgres, up"))
    with console.status("starting the Prefect server (10 to 30 seconds)"):
        server = prefect_up(settings)
    console.print(f"Prefect:  {server.ui_url}")


def _stack(settings: Settings, console: Console) -> None:
    from flows.compose import ROOT, addresses, bring_up, check_compose, check_settings, services, write_settings

    # Before anything is written.
    check_compose(ROOT)
    if written := write_settings(ROOT, settings):
        console.print(f"wrote {written}, with random secrets; keep it", soft_wrap=True)
    check_settings(ROOT)
    bring_up(ROOT)
    for line in addresses(services(ROOT)):
        console.print(line, markup=False, soft_wrap=True)
