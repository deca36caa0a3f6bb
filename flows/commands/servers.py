"""`nightbench servers`."""

import json as jsonlib
from typing import Any

from flows.console import open_console, table
from flows.registry import load_catalog, pinned_version
from nightbench.server import ServerSpec
from nightbench.settings import Settings

__all__ = ["servers"]


def servers(*, json: bool = False) -> None:
    """List the inference servers.

    Parameters
    ----------
    json
        Print JSON instead of a table.
    """
    catalog = load_catalog(Settings.from_environment())
    found = [_described(spec) for spec in catalog.servers.values()]
    if json:
        print(jsonlib.dumps(found, indent=2))
        return
    rows = [
        {
            "server": spec["name"],
            "what": spec["title"],
            "version": spec["version"],
            "formats": ", ".join(spec["formats"]),
            "protocols": ", ".join(spec["protocols"]),
            "batching": "yes" if spec["batching"] else "no",
        }
        for spec in found
    ]
    open_console().print(table("servers", rows))


def _described(spec: ServerSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "version": pinned_version(spec),
        "formats": [each.value for each in spec.formats],
        "protocols": [each.value for each in spec.protocols],
        "batching": spec.batching,
        "options": [
            {"name": option.name, "default": option.default, "choices": list(option.choices), "help": option.help}
            for option in spec.options
        ],
    }
