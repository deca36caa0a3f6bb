"""What a server's deployments are made of beside artifact and options: enough text to make them again some other night.

A kit holds a server's own folder and, beside it, the code that the folder uses: the modules of ``servers`` that it
imports, and folders without a server in them that its code names (``arena_common``). Paths count from the server's
folder; what lies beside it begins with ``../``. What is not text, or larger than 1 MiB, is left out, as is what builds
or explains.

Restored, the files lie as they lay, and the server is loaded from there: `ServerSpec.folder`, its requirement list and
its ``serve.py`` are then those of that night.
"""

import ast
import importlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import ModuleType

from nightbench.errors import UsageError
from nightbench.server import ServerSpec
from servers import load

__all__ = ["kit_files", "kit_sha256", "restored"]

_OURS = Path(__file__).parent
_NOT_SERVED = (".md", ".in", ".pyc")
_LARGEST_BYTES = 1 << 20
"""A larger file is nobody's code, and every night would carry it."""
_SWAP = threading.Lock()
"""Held while ``servers`` names restored modules."""


def kit_files(spec: ServerSpec) -> dict[str, str]:
    """The kit of ``spec``: text by path."""
    found = {path.relative_to(spec.folder).as_posix(): text for path, text in _texts(spec.folder)}
    for path in sorted(_beside(spec.folder)):
        found[f"../{path.relative_to(spec.folder.parent).as_posix()}"] = path.read_text(encoding="utf-8")
    return found


def kit_sha256(files: Mapping[str, str]) -> str:
    """The hash that names a kit."""
    return sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def restored(files: Mapping[str, str], today: ServerSpec, root: Path) -> ServerSpec:
    """Write a kit below ``root``, a new folder, and load the server from there. ``today`` is the same server as it is.

    `UsageError` if it cannot be loaded, or a path leads out of ``root``.
    """
    folder = root / today.folder.parent.name / today.folder.name
    for name, text in files.items():
        inner = PurePosixPath(name.removeprefix("../"))
        if inner.is_absolute() or ".." in inner.parts:
            raise UsageError(f"kit of {today.name}: the path {name!r} leads out of its folder; it is not restored")
        path = (folder.parent if name.startswith("../") else folder) / inner
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"kit of {today.name}: the file {name!r} cannot be written: {error}") from error
    importlib.invalidate_caches()
    spec = _load_ours(folder) if today.folder.parent == _OURS else load(folder)
    if spec is None or spec.name != today.name:
        raise UsageError(f"kit of {today.name}: defines no server of that name; it is not restored")
    return spec


def _load_ours(folder: Path) -> ServerSpec | None:
    """Our servers import each other by their full names, so these must mean the restored files for a moment."""
    with _SWAP, _instead_of_ours(folder.parent):
        try:
            spec = importlib.import_module(f"servers.{folder.name}").SERVER
        except Exception as error:
            raise UsageError(f"kit of {folder.name}: cannot be imported: {type(error).__name__}: {error}") from error
    return spec if isinstance(spec, ServerSpec) else None


@contextmanager
def _instead_of_ours(parent: Path) -> Iterator[None]:
    def ours() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if f"{name}.".startswith("servers.")}

    kept = ours()
    package = ModuleType("servers")
    package.__path__ = [str(parent)]
    for name in kept:
        del sys.modules[name]
    sys.modules["servers"] = package
    try:
        yield
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(kept)


def _texts(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inner.parts)
        if hidden or not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
            continue
        if path.suffix in _NOT_SERVED or path.name.startswith("Dockerfile"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if "\0" not in text:  # which no database takes for text
            yield path, text


def _beside(folder: Path) -> set[Path]:
    """Code beside ``folder`` that it uses, directly or not."""
    helpers = {path.name: path for path in folder.parent.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    helpers = {name: path for name, path in helpers.items() if not (path / "__init__.py").exists()}
    found: set[Path] = set()
    waiting = sorted(folder.rglob("*.py"))
    while waiting:
        used = _used(waiting.pop(), folder.parent, helpers)
        new = {path for path in used if folder not in path.parents} - found
        found |= new
        waiting += sorted(new)
    return found


def _used(path: Path, parent: Path, helpers: Mapping[str, Path]) -> set[Path]:
    """The files of one module's imports from ``servers``, where these lie beside it, and of helper folders it names."""
    found: set[Path] = set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return found  # for another Python than ours, perhaps: a ``serve.py`` runs in the server's own
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in helpers:
            found |= set(helpers[node.value].glob("*.py"))
        elif isinstance(node, ast.Import):
            found |= {file for each in node.names for file in _modules(each.name, parent)}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = (node.module or "", *(f"{node.module}.{each.name}" for each in node.names))
            found |= {file for name in names for file in _modules(name, parent)}
    return found


def _modules(name: str, parent: Path) -> Iterator[Path]:
    """The code that ``servers.<server or module>`` may mean: of another server all, for its parts import each other."""
    parts = name.split(".")
    if parts[0] != "servers" or len(parts) < 2:
        return
    module = parent / f"{parts[1]}.py"
    yield from [module] if module.is_file() else (parent / parts[1]).glob("*.py")
