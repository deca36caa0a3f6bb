"""One folder an inference server, and nothing about any of them outside it. `discover` finds them."""

import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from nightbench.errors import UsageError
from nightbench.server import ServerSpec

__all__ = ["discover", "load"]


def discover(extra: Sequence[Path] = ()) -> dict[str, ServerSpec]:
    """Every server by its name: the packages here that define ``SERVER``, then those in each ``extra`` folder.

    `UsageError` names the folder that cannot be imported, defines something else, or repeats a name.
    """
    found: dict[str, ServerSpec] = {}
    for folder, module in _modules(extra):
        spec = getattr(module, "SERVER", None)
        if spec is None:
            continue
        if not isinstance(spec, ServerSpec):
            raise UsageError(f"server folder {folder}: SERVER is a {type(spec).__name__}; make it a ServerSpec")
        if spec.name in found:
            raise UsageError(
                f"server folder {folder}: the name {spec.name!r} is already taken by "
                f"{found[spec.name].folder}; give one of them another name"
            )
        found[spec.name] = spec
    return found


def load(folder: Path) -> ServerSpec | None:
    """The server of a folder that lies anywhere; ``None`` if it defines none, `UsageError` if it cannot be imported."""
    spec = getattr(_checked(folder, _unique(folder), own=False), "SERVER", None)
    return spec if isinstance(spec, ServerSpec) else None


def _modules(extra: Sequence[Path]) -> Iterator[tuple[Path, ModuleType]]:
    for folder in _packages(Path(__file__).parent):
        yield folder, _checked(folder, f"{__name__}.{folder.name}", own=True)
    for parent in extra:
        if not parent.is_dir():
            raise UsageError(f"server folder {parent} is not a folder; name one that holds server folders")
        for folder in _packages(parent.resolve()):
            yield folder, _checked(folder, _unique(folder), own=False)


def _unique(folder: Path) -> str:
    """A module's name with the path in it, so that two folders called alike stay two modules."""
    return f"nightbench_server_{sha256(str(folder).encode()).hexdigest()[:12]}_{folder.name}"


def _packages(parent: Path) -> list[Path]:
    return sorted(init.parent for init in parent.glob("*/__init__.py"))


def _checked(folder: Path, name: str, *, own: bool) -> ModuleType:
    try:
        return import_module(name) if own else _load(folder, name)
    except Exception as error:
        raise UsageError(
            f"server folder {folder} cannot be imported: {type(error).__name__}: {error}; "
            "repair its __init__.py or move the folder away"
        ) from error


def _load(folder: Path, name: str) -> ModuleType:
    spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError("no loader for __init__.py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # relative imports inside the folder look it up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
