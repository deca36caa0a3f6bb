"""Everything one launch is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch.environment import Environment
from nightbench.model import Artifact, ModelSpec
from nightbench.server import Limits, OptionValue, ServerSpec

__all__ = ["LaunchRequest"]


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """One server, one artifact, one start."""

    spec: ServerSpec
    model: ModelSpec
    artifact: Artifact
    options: Mapping[str, OptionValue]
    """Settings that differ from the server's defaults, or all of them."""
    threads: int
    limits: Limits
    environment: Environment
    run_id: str
    """Labels everything started here, with ``deployment_id``, so that it is found again."""
    deployment_id: str
    log_path: Path
    """Standard output and error of the server; kept. Its folder is made if need be."""
    workdir_root: Path | None = None
    """Where the private working directory is made; ``None`` is the system's folder for temporary files."""
    ports: tuple[int, int] | None = None
    """The range a server may listen in, both ends included; ``None`` lets the operating system choose."""
    shared_memory: bool = True
    """Whether a container may share this machine's memory (`Settings.shared_memory`); a process always does."""
