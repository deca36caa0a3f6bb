"""Settings from the environment: the only place that reads ``NIGHTBENCH_*`` variables."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from nightbench.errors import UsageError

__all__ = ["Settings"]


def _port(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise UsageError(f"environment: {name}: {text!r} is not a port; give a number from 1 to 65535")
    return int(text)


def _port_range(env: Mapping[str, str], name: str) -> tuple[int, int] | None:
    """``FIRST-LAST``, both included."""
    text = env.get(name)
    if not text:
        return None
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 1024 <= int(first) <= int(last) <= 65535):
        raise UsageError(f"environment: {name}: {text!r} is not a port range; write it as 20000-20099")
    return int(first), int(last)


_CHANNEL = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


def _channels(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Prefect blocks, each once, as Prefect itself writes them: ``<type>/<name>``."""
    channels = [part.strip() for part in env.get(name, "").split(",") if part.strip()]
    for channel in channels:
        if ":" in channel:
            # A webhook's address is its password: it is not repeated.
            raise UsageError(
                f"environment: {name}: an address belongs into a Prefect block; write the block here, "
                "such as slack-webhook/ops"
            )
        if not _CHANNEL.fullmatch(channel):
            raise UsageError(
                f"environment: {name}: {channel!r} is not a Prefect block; write <block type>/<block name>, "
                "such as slack-webhook/ops, several with commas between"
            )
    return tuple(dict.fromkeys(channels))


def _web_address(env: Mapping[str, str], name: str) -> str | None:
    text = env.get(name)
    if not text:
        return None
    try:
        parts = urlsplit(text)
        plain = parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        plain = False
    # It goes into a message: a password in it would be everybody's.
    if not plain or "@" in parts.netloc or re.search(r"[\s<>\"]", text):
        raise UsageError(f"environment: {name}: this is not a plain web address; write it as http://grafana:3000")
    return text.rstrip("/")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where nightbench keeps its things and how it reaches its services."""

    home: Path
    """State of this machine: runs, spool, service files, the embedded database."""
    cache: Path
    """What can be made again: exported artifacts and server environments."""
    database_url: str | None = field(repr=False)
    """Postgres given by the user; ``None`` means the embedded one. Never logged: it may hold a password."""
    prefect_port: int | None
    """Port of the Prefect server; ``None`` takes Prefect's usual one, or a free one if that is taken."""
    server_ports: tuple[int, int] | None
    """Ports servers may listen on; ``None`` lets the operating system choose."""
    environments: str
    """``pinned``: each server runs in its own pinned environment. ``host``: all run in this interpreter."""
    servers_path: tuple[Path, ...]
    """Extra folders that hold server folders."""
    notify: tuple[str, ...] = ()
    """Prefect blocks that the night's message goes to: ``slack-webhook/ops``."""
    grafana_url: str | None = None
    """Base address of the dashboards, for links in messages."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read every setting; a bad one is a `UsageError`."""
        environments = env.get("NIGHTBENCH_ENVIRONMENTS", "pinned")
        if environments not in {"pinned", "host"}:
            raise UsageError(
                f"environment: NIGHTBENCH_ENVIRONMENTS: {environments!r} is unknown; use 'pinned' or 'host'"
            )
        data = Path(env.get("XDG_DATA_HOME") or Path.home() / ".local/share")
        cache = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(
            home=Path(env.get("NIGHTBENCH_HOME") or data / "nightbench").absolute(),
            cache=Path(env.get("NIGHTBENCH_CACHE") or cache / "nightbench").absolute(),
            database_url=env.get("NIGHTBENCH_DATABASE_URL") or None,
            prefect_port=_port(env, "NIGHTBENCH_PREFECT_PORT"),
            server_ports=_port_range(env, "NIGHTBENCH_SERVER_PORTS"),
            environments=environments,
            servers_path=tuple(
                Path(part).absolute() for part in env.get("NIGHTBENCH_SERVERS_PATH", "").split(os.pathsep) if part
            ),
            notify=_channels(env, "NIGHTBENCH_NOTIFY"),
            grafana_url=_web_address(env, "NIGHTBENCH_GRAFANA_URL"),
        )

    @property
    def artifacts(self) -> Path:
        return self.cache / "artifacts"

    @property
    def server_environments(self) -> Path:
        return self.cache / "environments"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def services(self) -> Path:
        return self.home / "services"
