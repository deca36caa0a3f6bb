"""`nightbench servers`."""

import json as jsonlib
from typing import Any

from flows.console import open_console, table
from flows.registry import load_catalog, pinned_version
from launch.here import missing
from nightbench.server import ServerSpec
from nightbench.settings import Settings

__all__ = ["servers"]


def servers(*, json: bool = False) -> None:
    """List the inference servers, and where each can run on this machine.

    Parameters
    ----------
    json
        Print JSON instead of a table; it has every option with its default.
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
            "runs here as": spec["here"] or "-",
            "missing": ", ".join(spec["missing"]),
        }
        for spec in found
    ]
    open_console().print(table("servers", rows))


def _where(spec: ServerSpec) -> str:
    if not spec.process:
        return "container"
    return "in-process" if spec.in_process else "process"


def _tag(image: str) -> str:
    """The tag of an image, which stands before its digest; ``-`` where it has none."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2] or "-"


def _described(spec: ServerSpec) -> dict[str, Any]:
    absent = missing(spec)
    return {
        "name": spec.name,
        "title": spec.title,
        "version": pinned_version(spec) if spec.process else _tag(spec.image),
        "formats": [each.value for each in spec.formats],
        "protocols": [each.value for each in spec.protocols],
        "batching": spec.batching,
        "runs_as": _where(spec),
        "here": None if absent else _where(spec),
        "missing": list(absent),
        "image": spec.image or None,
        "options": [
            {"name": option.name, "default": option.default, "choices": list(option.choices), "help": option.help}
            for option in spec.options
        ],
    }
