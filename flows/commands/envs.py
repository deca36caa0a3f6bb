"""`nightbench envs` and `nightbench envs prune`."""

import json as jsonlib
import time
from typing import Any, Literal

from rich.console import Console

from dashboards.otava import OTAVA
from dashboards.report.format import in_words, size
from export.environments import ENVIRONMENTS
from flows.console import open_console, table
from flows.registry import load_catalog
from launch.environments import Built, built_environments, prune, total_bytes
from nightbench.errors import UsageError
from nightbench.settings import Settings

__all__ = ["envs"]


def envs(action: Literal["list", "prune"] = "list", /, *, all: bool = False, json: bool = False) -> None:  # noqa: A002 - the options' names
    """List the servers' environments on this disk, or remove those that no present requirement list names.

    Parameters
    ----------
    action
        `list` or `prune`.
    all
        With `prune`: remove every one; the next run builds what it needs again.
    json
        With `list`: print JSON instead of a table.
    """
    if all and action == "list":
        raise UsageError("--all: goes with prune only; write `nightbench envs prune --all`")
    if json and action == "prune":
        raise UsageError("--json: goes with list only; leave it out")
    settings = Settings.from_environment()
    root = settings.server_environments
    found = built_environments([*load_catalog(settings).servers.values(), *ENVIRONMENTS.values(), OTAVA], root)
    if action == "prune":
        _prune([each for each in found if all or not (each.current and each.whole)], open_console())
        return
    total = total_bytes(root)
    if json:
        print(jsonlib.dumps({"total_bytes": total, "environments": [_described(each) for each in found]}, indent=2))
        return
    console = open_console()
    console.print(table("environments", [_row(each) for each in found]))
    console.print(f"{size(total)} together, in {root}", soft_wrap=True, markup=False)


def _prune(doomed: list[Built], console: Console) -> None:
    for pruned in prune(doomed):
        name = pruned.environment.folder.name
        gone = f"removed {name}, {size(pruned.environment.size_bytes)}"
        console.print(f"kept {name}: {pruned.kept}" if pruned.kept else gone, markup=False)
    if not doomed:
        console.print("nothing to remove")


def _state(environment: Built) -> str:
    if not environment.whole:
        return "unfinished"
    return "yes" if environment.current else "no"


def _row(environment: Built) -> dict[str, str]:
    return {
        "server": environment.server,
        "hash": environment.fingerprint,
        "size": size(environment.size_bytes),
        "shared": size(environment.shared_bytes),
        "age": in_words((time.time() - environment.modified_s) * 1e9),
        "current": _state(environment),
    }


def _described(environment: Built) -> dict[str, Any]:
    return {
        "server": environment.server,
        "hash": environment.fingerprint,
        "path": str(environment.folder),
        "size_bytes": environment.size_bytes,
        "shared_bytes": environment.shared_bytes,
        "age_s": round(time.time() - environment.modified_s),
        "whole": environment.whole,
        "current": environment.current,
    }
