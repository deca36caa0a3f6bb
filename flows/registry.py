"""All models and servers this installation knows, and its suites."""

from pathlib import Path

import servers
from export import zoo
from export.signature import read_signature
from launch.environment import pinned_version
from nightbench.catalog import Catalog
from nightbench.errors import UsageError, nearest
from nightbench.settings import Settings

__all__ = ["SUITES", "load_catalog", "pinned_version", "suite_path"]

SUITES = Path(__file__).resolve().parent.parent / "suites"


def load_catalog(settings: Settings) -> Catalog:
    """The zoo's models and every server folder, the user's own included."""
    return Catalog(models=zoo.models(), servers=servers.discover(settings.servers_path), signature=read_signature)


def suite_path(name: str) -> Path:
    """A suite file given by path, or by the name of one that comes with nightbench."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    known = {file.stem: file for file in SUITES.glob("*.yaml")}
    if name not in known:
        raise UsageError(
            f"suite {name!r}: is neither a file nor a suite that comes with nightbench; {nearest(name, known)}"
        )
    return known[name]
