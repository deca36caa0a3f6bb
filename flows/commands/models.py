"""`nightbench models`."""

import json as jsonlib
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing

from export.artifact import found_artifact
from export.isolated import found
from flows.commands.export import prepared
from flows.console import open_console, table
from flows.model_matrix import Entry, entries, every_export, printed, told
from flows.registry import load_catalog
from nightbench.errors import UsageError, nearest
from nightbench.model import Format, ModelSpec, Precision
from nightbench.plan import Export
from nightbench.settings import Settings
from tasks.export import POOL_COUNT, export_width

__all__ = ["models"]


def models(
    *names: str,
    format: tuple[Format, ...] = (),  # noqa: A002 - the option's name
    precision: tuple[Precision, ...] = (),
    make: bool = False,
    json: bool = False,
) -> None:
    """List the models: each in every format and precision, as far as it was exported here.

    Exit code 1 if one strays, or failed just now; failures are not kept.

    Parameters
    ----------
    names
        Models of the zoo; by default all.
    format
        Only this file format; may be given several times.
    precision
        Only this precision; may be given several times.
    make
        Export and check what is not there yet.
    json
        Print JSON instead of a table; it has parity for every output and batch size.
    """
    settings, console = Settings.from_environment(), open_console()
    specs = _chosen(names, settings)
    exports = every_export(specs.values(), format or tuple(Format), precision or tuple(Precision))

    def look(export: Export, should_stop: Callable[[], bool]) -> Entry:
        asked = (specs[export.model], export.format, export.precision, export.weights)
        if make:
            result = prepared(export.model, *asked[1:], settings, status.update, should_stop)
        else:
            there = found(*asked, cache=settings.artifacts, pool_count=POOL_COUNT)
            if there is None:
                return Entry(export, artifact=found_artifact(*asked, settings.artifacts))
            result = there
        return Entry(export, result)

    done: dict[Export, Entry] = {}
    with ExitStack() as stack:
        status = stack.enter_context(console.status("looking"))
        # Closed whatever happens: what is under way must not be waited for when the user has had enough.
        for entry in stack.enter_context(closing(entries(exports, look, export_width() if make else 1))):
            done[entry.export] = entry
            status.update(f"{len(done)} of {len(exports)}: {entry.export.model} {entry.export.format}")
    ordered = [done[export] for export in exports]
    if json:
        print(jsonlib.dumps([told(entry) for entry in ordered], indent=2))
    else:
        console.print(table("models", [printed(entry) for entry in ordered]))
    sys.exit(0 if all(entry.sound for entry in ordered) else 1)


def _chosen(names: tuple[str, ...], settings: Settings) -> dict[str, ModelSpec]:
    known = load_catalog(settings).models
    for name in names:
        if name not in known:
            raise UsageError(f"model {name!r} is unknown; {nearest(name, known)}")
    return {name: known[name] for name in names or known}
