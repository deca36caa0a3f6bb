"""The Custom-run form of a night: what the `nightly` flow takes, with what there is to choose from.

The choices are those of the machine that deploys; whoever adds a server or a suite deploys again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nightbench.catalog import Catalog
from nightbench.model import Format
from nightbench.server import Protocol

__all__ = ["night_form"]


def night_form(schema: Mapping[str, Any], catalog: Catalog, suites: Iterable[str]) -> dict[str, Any]:
    """``schema``, which Prefect reads off the flow, with the choices and bounds that its types do not say.

    Prefect checks what is sent against it, in the form and in the API, before a run is made.
    """
    within: dict[str, dict[str, Any]] = {
        "suite": {"type": "string", "enum": sorted(suites)},
        "servers": _several(_text(sorted(catalog.servers))),
        "models": _several(_text(sorted(catalog.models))),
        "formats": _several(_text([each.value for each in Format])),
        "protocols": _several(_text([each.value for each in Protocol])),
        "batches": _several({"type": "integer", "minimum": 1, "maximum": 65536}),
        "rounds": {"type": "integer", "minimum": 0, "maximum": 100},
        "duration_s": {"type": "number", "minimum": 0, "maximum": 3600},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "resume": {"type": "string"},
    }
    properties = {
        name: {key: value for key, value in shown.items() if key not in {"anyOf", "items", "prefixItems", "type"}}
        | within[name]
        for name, shown in schema["properties"].items()
    }
    for optional in ("seed", "resume"):
        properties[optional].pop("default", None)
    return {**schema, "properties": properties, "additionalProperties": False}


def _several(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "uniqueItems": True}


def _text(choices: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": choices}
