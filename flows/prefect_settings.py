"""Prefect's own settings, which it reads from the environment at import: set here, before anybody imports it."""

import os
from collections.abc import Mapping

from nightbench.settings import Settings

__all__ = ["configure", "prefect_environment"]


def prefect_environment(settings: Settings) -> Mapping[str, str]:
    """What both our Prefect server and our flow runs want: our own folder, nothing phoned home, quiet terminals."""
    return {
        "PREFECT_HOME": str(settings.services / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Flow logs belong to the run's page; the terminal has its own progress display.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_FLOW_RUNS_LEVEL": "CRITICAL",
        "PREFECT_SHOW_STARTUP_TIPS": "false",
    }


def configure(settings: Settings, api_url: str) -> None:
    """Point this process at a Prefect server. What the user has set already stays."""
    for name, value in {**prefect_environment(settings), "PREFECT_API_URL": api_url}.items():
        os.environ.setdefault(name, value)
