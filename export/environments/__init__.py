"""Environments of Python packages that exporters need and ours cannot hold beside the others, one folder each.

A folder holds the pinned ``requirements.txt`` and the scripts that run there, which import nothing of nightbench.
Whoever asks for an export has them built (`launch.environment`) and says where their interpreters are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

__all__ = ["ENVIRONMENTS", "ExportEnvironment"]


@dataclass(frozen=True, slots=True)
class ExportEnvironment:
    """One of them: what `launch.environment.ensure_environment` builds."""

    name: str
    folder: Path
    distribution: str
    """The package in ``requirements.txt`` that it is there for."""

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def fingerprint(self) -> str:
        """Changes with any package in it, and so with what may change the bytes of an artifact."""
        return sha256(self.requirements.read_bytes()).hexdigest()[:12]


_FOLDER = Path(__file__).parent

ENVIRONMENTS: Mapping[str, ExportEnvironment] = {
    "tensorflow": ExportEnvironment("export-tensorflow", _FOLDER / "tensorflow", "tensorflow-cpu"),
}
"""By the names in `export.formats.base.Exporter.environments`."""
