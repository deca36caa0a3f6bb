"""Settings from the environment: the only place that reads ``NIGHTBENCH_*`` variables."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from socket import gethostname
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

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


def _yes(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name) or "yes"
    if text not in {"yes", "no"}:
        raise UsageError(f"environment: {name}: {text!r} is neither 'yes' nor 'no'; write one of them")
    return text == "yes"


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


_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?")


def _image(env: Mapping[str, str], name: str) -> str:
    text = env.get(name) or "python:3.11-slim"
    if not _IMAGE.fullmatch(text):
        raise UsageError(f"environment: {name}: {text!r} is no image; write it as python:3.11-slim")
    return text


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


CRON = "30 3 * * *"
"""Half past three is there, once, on every day of nearly every zone: clocks are put forward and back before it."""


def _time_zone(env: Mapping[str, str], name: str) -> str:
    text = env.get(name) or "UTC"
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        close = get_close_matches(text, available_timezones(), n=1)
        remedy = f"did you mean {close[0]!r}?" if close else "give one such as Europe/Berlin"
        raise UsageError(f"environment: {name}: {text!r} is no time zone; {remedy}") from error
    return text


_LIMIT = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")


def _limit(env: Mapping[str, str], name: str, usual: str) -> str:
    text = env.get(name) or usual
    if not _LIMIT.fullmatch(text):
        raise UsageError(f"environment: {name}: {text!r} is no limit; write it as {usual}")
    return text


def _certificate(env: Mapping[str, str]) -> tuple[Path | None, Path | None]:
    """The files of the API's certificate and its private key: both or neither."""
    names = "NIGHTBENCH_API_CERTIFICATE", "NIGHTBENCH_API_PRIVATE_KEY"
    given = [Path(text).absolute() if (text := env.get(name)) else None for name in names]
    if given.count(None) == 1:
        missing = names[given.index(None)]
        raise UsageError(f"environment: {missing}: is missing; TLS takes a certificate and its private key")
    return given[0], given[1]


_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _name(env: Mapping[str, str], name: str) -> str | None:
    """Of a machine or a pool: Prefect shows it, and it stands in addresses."""
    text = env.get(name)
    if text and not _NAME.fullmatch(text):
        raise UsageError(
            f"environment: {name}: {text!r} is no name; give small letters, digits, dots and dashes, such as gpu-h200"
        )
    return text or None


def _host() -> str:
    """This machine's own name, as far as it is one."""
    return re.sub(r"[^a-z0-9.-]+", "-", gethostname().lower()).strip(".-") or "this-machine"


_FOREVER = "forever"
_LEAST_DAYS = 31


def _days(env: Mapping[str, str], name: str, default: int) -> int | None:
    """For how long something is kept; ``None`` is for ever."""
    text = env.get(name) or str(default)
    if text == _FOREVER:
        return None
    if not (text.isdecimal() and len(text) < 6 and int(text) >= _LEAST_DAYS):
        raise UsageError(
            f"environment: {name}: {text!r} is no number of days; give {_LEAST_DAYS} or more, or {_FOREVER!r}"
        )
    return int(text)


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
    image_base: str = "python:3.11-slim"
    """What servers' images are built on: Python 3.11 with venv, as ``python3``."""
    reader_password: str | None = field(default=None, repr=False)
    """Of the dashboards' read-only role; ``None`` makes no such role."""
    machine: str = field(default_factory=_host)
    """What this machine is called among the workers; experiments on it are done one after the other."""
    cron: str = CRON
    """When the night begins, by the clock of ``time_zone``."""
    time_zone: str = "UTC"
    api_certificate: Path | None = None
    """Of the HTTP API, in PEM, with what it is signed by; given together with the next."""
    api_private_key: Path | None = None
    api_key_limit: str = "120/minute"
    """How often one key of the HTTP API may ask."""
    api_address_limit: str = "600/minute"
    """How often all keys of one address may."""
    api_inference_ports: tuple[int, int] | None = None
    """Ports of this machine that the HTTP API asks for predictions for operators; ``None`` takes ``server_ports``."""
    shared_memory: bool = True
    """Whether servers in containers may share memory with the load engine, by this machine's IPC namespace."""
    pool: str | None = None
    """The Prefect work pool of machines of this kind; ``None`` is named by what the machine has."""
    keep_telemetry_days: int | None = 180
    """For how long what was observed beside a cell stays in the database; ``None`` is for ever."""
    keep_measurements_days: int | None = 1830
    """The same of timed cells. What is older is kept as one figure a series and night."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read every setting; a bad one is a `UsageError`."""
        environments = env.get("NIGHTBENCH_ENVIRONMENTS", "pinned")
        if environments not in {"pinned", "host"}:
            raise UsageError(
                f"environment: NIGHTBENCH_ENVIRONMENTS: {environments!r} is unknown; use 'pinned' or 'host'"
            )
        certificate, private_key = _certificate(env)
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
            api_certificate=certificate,
            api_private_key=private_key,
            api_key_limit=_limit(env, "NIGHTBENCH_API_KEY_LIMIT", "120/minute"),
            api_address_limit=_limit(env, "NIGHTBENCH_API_ADDRESS_LIMIT", "600/minute"),
            api_inference_ports=_port_range(env, "NIGHTBENCH_API_INFERENCE_PORTS"),
            image_base=_image(env, "NIGHTBENCH_IMAGE_BASE"),
            reader_password=env.get("NIGHTBENCH_READER_PASSWORD") or None,
            machine=_name(env, "NIGHTBENCH_MACHINE") or _host(),
            cron=env.get("NIGHTBENCH_CRON") or CRON,
            time_zone=_time_zone(env, "NIGHTBENCH_TIME_ZONE"),
            shared_memory=_yes(env, "NIGHTBENCH_SHARED_MEMORY"),
            pool=_name(env, "NIGHTBENCH_POOL"),
            keep_telemetry_days=_days(env, "NIGHTBENCH_KEEP_TELEMETRY_DAYS", 180),
            keep_measurements_days=_days(env, "NIGHTBENCH_KEEP_MEASUREMENTS_DAYS", 1830),
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
