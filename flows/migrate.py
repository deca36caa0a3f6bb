"""``python -m flows.migrate``: what the compose file runs once before anything that needs the tables.

Tables up to date, and the dashboards' role where ``NIGHTBENCH_READER_PASSWORD`` is set.
"""

import sys

from db.connect import database_url
from db.roles import ensure_reader
from flows.console import open_console
from nightbench.errors import NightbenchError
from nightbench.settings import Settings
from tasks.store import open_store

__all__ = ["main"]


def main() -> None:
    """Exit codes as the `nightbench` command's."""
    try:
        settings, console = Settings.from_environment(), open_console()
        open_store(settings).close()
        console.print("tables: up to date")
        if settings.reader_password is not None:
            ensure_reader(database_url(settings), settings.reader_password)
            console.print("dashboards' role: may read every view")
    except NightbenchError as error:
        print(f"nightbench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
