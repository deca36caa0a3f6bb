"""`nightbench up`."""

from flows.console import open_console
from nightbench.settings import Settings

__all__ = ["up"]


def up() -> None:
    """Start the embedded database and the Prefect server, and leave them running."""
    from flows.services import prefect_up, start_database

    settings, console = Settings.from_environment(), open_console()
    with console.status("starting the database"):
        start_database(settings)
    console.print("database: " + ("yours" if settings.database_url else "embedded Postgres, up"))
    with console.status("starting the Prefect server (10 to 30 seconds)"):
        server = prefect_up(settings)
    console.print(f"Prefect:  {server.ui_url}")
