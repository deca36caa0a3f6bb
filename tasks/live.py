"""Which deployments are up now, told to other processes of this machine: a file each, gone with the deployment."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from launch.labels import Owner
from nightbench.model import Format, Precision
from nightbench.plan import Replicate
from nightbench.server import Deployment, Endpoint, Protocol
from nightbench.settings import Settings

__all__ = ["Live", "announced", "live_deployments", "live_folder"]


@dataclass(frozen=True, slots=True)
class Live:
    """One deployment that answers, of a run that goes on."""

    run_id: str
    deployment_id: str
    server: str
    model: str
    format: Format
    precision: Precision
    weights: str
    endpoints: Mapping[Protocol, Endpoint]
    """Those that can be asked from outside: empty where the load engine hosts the model."""

    @classmethod
    def of(cls, run_id: str, replicate: Replicate, deployment: Deployment) -> "Live":
        """What is told of ``deployment``."""
        export = replicate.setup.export
        reachable = dict(deployment.endpoints)
        reachable.pop(Protocol.IN_PROCESS, None)
        names = (run_id, replicate.deployment_id, deployment.server, export.model)
        return cls(*names, export.format, export.precision, export.weights, reachable)


def live_folder(settings: Settings) -> Path:
    """Where the deployments of this home are announced."""
    return settings.services / "live"


@contextmanager
def announced(folder: Path, live: Live) -> Iterator[None]:
    """Announce a deployment for the length of the block. A disk that takes no file costs the announcement alone."""
    path = folder / f"{Owner.current().prefix}{live.deployment_id}.json"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever looks finds all of it or nothing.
        draft = path.with_suffix(".draft")
        draft.write_bytes(_lives().dump_json(live))
        draft.rename(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def live_deployments(folder: Path) -> list[Live]:
    """All that are up, by their ids. What a killed run left behind is none, and is taken away."""
    found = []
    for path in folder.glob("nightbench-*.json"):
        owner = Owner.of_name(path.name)
        # It may end while we look; a file that another version wrote is no news.
        with suppress(OSError, ValueError):
            if owner is None or not owner.dead:
                found.append(_lives().validate_json(path.read_bytes()))
            elif path.stat().st_uid == os.getuid():
                path.unlink()
    return sorted(found, key=lambda live: live.deployment_id)


@cache
def _lives() -> TypeAdapter[Live]:
    return TypeAdapter(Live)
