"""Prefect's own settings, which it reads from the environment at import: set here, before anybody imports it."""

import logging
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
        "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SHOW_STARTUP_TIPS": "false",
        # A run that falls silent is told of within minutes (`flows.automations`).
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
        # In memory, a restarted server would never free the slot of whoever held it before (`flows.turn`).
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # A night must not wait minutes for a server that only shows it (`flows.dressing`).
        "PREFECT_CLIENT_MAX_RETRIES": "2",
    }


def configure(settings: Settings, api_url: str) -> None:
    """Point this process at a Prefect server, before Prefect is imported. What the user has set already stays."""
    # Prefect warns where it has to make it.
    settings.services.mkdir(parents=True, exist_ok=True)
    for name, value in {**prefect_environment(settings), "PREFECT_API_URL": api_url}.items():
        os.environ.setdefault(name, value)
    # A proxy for the world outside must not be asked for a server on this machine.
    local = ["127.0.0.1", "localhost"]
    # Log lines that cannot be delivered are no news for the terminal: the loss is told once, as a note.
    logging.raiseExceptions = False
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), *local]))
