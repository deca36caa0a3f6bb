"""The stack of ``docker-compose.yml``: its settings written, brought up, waited for, and where it listens.

Driven through Docker's own client, as its user would: Compose is a program, and has no library.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nightbench.errors import NightbenchError, UsageError
from nightbench.settings import Settings

__all__ = [
    "ROOT",
    "SECRETS",
    "Service",
    "addresses",
    "bring_up",
    "check_compose",
    "check_settings",
    "services",
    "write_settings",
]

ROOT: Final = Path(__file__).resolve().parent.parent
"""Where the compose files lie."""

SECRETS: Final = (
    "POSTGRES_PASSWORD",
    "NIGHTBENCH_DATABASE_PASSWORD",
    "NIGHTBENCH_READER_PASSWORD",
    "PREFECT_DATABASE_PASSWORD",
    "PREFECT_AUTH",
    "GRAFANA_PASSWORD",
)
"""What ``.env`` must say and ``.env.example`` leaves out."""

_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
# They stand in a regular expression of the socket proxy's, which lets through what lies below them, and in the engine's
# own `from:to` notation: each has one spelling, and none is the whole machine.
_PLAIN_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)+")
_USUAL_TMP = "/tmp"  # noqa: S108  (what the compose files take where nothing is said)


@dataclass(frozen=True, slots=True)
class Service:
    """One container of the stack, as ``docker compose ps`` has it."""

    name: str
    state: str
    """``running``, ``exited``, ``restarting``..."""
    health: str
    """``healthy``, ``unhealthy``, ``starting``; empty where nobody asks."""
    exit_code: int
    published: tuple[str, ...]
    """``host:port`` of each published port."""

    @property
    def well(self) -> bool:
        """Whether it does what it is for: a one-shot service has ended without an error."""
        if self.state == "exited":
            return self.exit_code == 0
        return self.state == "running" and self.health in {"", "healthy"}


def write_settings(root: Path, settings: Settings) -> Path | None:
    """Make ``.env`` of ``.env.example``, with random secrets and folders of this user's; ``None`` if there is one.

    Only its owner may read it.
    """
    path = root / ".env"
    if path.exists():
        return None
    home, cache = settings.home / "compose", settings.cache / "compose"
    uid, gid = _person()
    values = {name: secrets.token_urlsafe(24) for name in SECRETS}
    values["PREFECT_AUTH"] = f"nightbench:{values['PREFECT_AUTH']}"
    values |= {"NIGHTBENCH_HOME": str(home), "NIGHTBENCH_CACHE": str(cache)}
    values |= {"NIGHTBENCH_UID": str(uid), "NIGHTBENCH_GID": str(gid)}
    _check_paths(values)
    for folder in (home, cache):
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, uid, gid)
    lines = [_with_value(line, values) for line in (root / ".env.example").read_text(encoding="utf-8").splitlines()]
    path.touch(mode=0o600, exist_ok=False)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _person() -> tuple[int, int]:
    """Whose folders the worker writes: never root's, whoever starts the stack."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    return int(os.environ.get("SUDO_UID") or 1000), int(os.environ.get("SUDO_GID") or 1000)


def _with_value(line: str, values: Mapping[str, str]) -> str:
    found = _LINE.fullmatch(line)
    return f"{found[1]}={values[found[1]]}" if found and found[1] in values else line


def check_settings(root: Path, env: Mapping[str, str] = os.environ) -> None:
    """Refuse, in one sentence, what would fail later in some container's log. As Compose does, ``env`` goes first.

    Raises:
        UsageError: no ``.env``, a secret that is empty, or a folder's name that the engine would misread.
    """
    path = root / ".env"
    if not path.is_file():
        raise UsageError(f"{path}: it is missing; copy .env.example, and fill in what must be set")
    lines = path.read_text(encoding="utf-8").splitlines()
    said = {found[1]: found[2].strip("'\" ") for line in lines if (found := _LINE.fullmatch(line.strip()))}
    said |= {name: value for name, value in env.items() if name in said or name in SECRETS}
    empty = [name for name in SECRETS if not said.get(name)]
    if empty:
        raise UsageError(f"{path}: {', '.join(empty)} must not be empty; set each to a long random word of its own")
    if not all(said["PREFECT_AUTH"].partition(":")):
        raise UsageError(f"{path}: PREFECT_AUTH is not of the form user:password; write it so")
    _check_paths(said)


def _check_paths(said: Mapping[str, str]) -> None:
    for name in ("NIGHTBENCH_HOME", "NIGHTBENCH_CACHE", "NIGHTBENCH_TMP"):
        path = said.get(name, "") or (_USUAL_TMP if name == "NIGHTBENCH_TMP" else "")
        if not _PLAIN_PATH.fullmatch(path):
            raise UsageError(
                f"{name}: {path!r} is not a plain absolute path; "
                "use letters, digits, '.', '_' and '-' between '/', no '..', and no '/' at its end"
            )


def check_compose(root: Path) -> None:
    """Raise `UsageError` where there is no Docker, or none with Compose."""
    if _compose(root, "version", "--short").returncode != 0:
        raise UsageError("docker has no `compose`; install the Compose plugin, version 2.26 or later (docs/compose.md)")


def bring_up(root: Path) -> None:
    """Start what is not running yet, and wait until all of it is well. What Compose prints goes to the terminal.

    Raises:
        UsageError: there is no Docker, or none with Compose.
        NightbenchError: something did not become well.
    """
    check_compose(root)
    command = (_docker(), "compose", "up", "--detach", "--wait")
    # Read from a terminal as Compose prints it: what is pulled and built takes minutes at first.
    if subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, check=False).returncode == 0:
        return
    ill = [service.name for service in services(root) if not service.well]
    names = ", ".join(ill) or "what Compose names above"
    logs = f"; `docker compose logs {ill[0]}` says why" if ill else ""
    raise NightbenchError(f"the stack did not come up ({names}){logs}")


def services(root: Path) -> list[Service]:
    """Every container of the stack, ended ones too."""
    answer = _compose(root, "ps", "--all", "--format", "json")
    if answer.returncode != 0:
        raise NightbenchError(f"docker compose ps: {answer.stderr.strip() or 'it failed'}")
    return sorted(map(_service, _entries(answer.stdout)), key=lambda service: service.name)


def _entries(text: str) -> Iterable[dict[str, Any]]:
    """One object a line; one array before Compose 2.21."""
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _service(entry: Mapping[str, Any]) -> Service:
    ports = [each for each in entry.get("Publishers") or () if each.get("PublishedPort")]
    # An IPv6 twin of the same port tells nothing new.
    published = {f"{each['URL']}:{each['PublishedPort']}" for each in ports if ":" not in each["URL"]}
    return Service(
        name=entry["Service"],
        state=entry["State"],
        health=entry.get("Health", ""),
        exit_code=entry.get("ExitCode", 0),
        published=tuple(sorted(published)),
    )


_SHOWN: Final = {
    "prefect": ("Prefect", "http://{}", "sign in with PREFECT_AUTH of .env"),
    "grafana": ("Grafana", "http://{}", "user admin, GRAFANA_PASSWORD of .env"),
    "postgres": ("Postgres", "{}/nightbench", "user nightbench, NIGHTBENCH_DATABASE_PASSWORD of .env"),
}


def addresses(found: Iterable[Service]) -> list[str]:
    """A line for each service that people reach, then one for each other; secrets are named, never shown."""
    known = {service.name: service for service in found}
    lines = []
    for name, (title, form, hint) in _SHOWN.items():
        service = known.pop(name, None)
        if service is None:
            lines.append(f"{title + ':':10}not started")
            continue
        places = [form.format(place.replace("0.0.0.0", "127.0.0.1")) for place in service.published]  # noqa: S104
        lines.append(f"{title + ':':10}{' '.join(places) or 'not published'} ({hint})")
    for name, service in known.items():
        word = "done" if service.state == "exited" and service.well else service.health or service.state
        lines.append(f"{name + ':':10}{word}" if len(name) < 9 else f"{name}: {word}")
    return lines


def _compose(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        (_docker(), "compose", *arguments),
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _docker() -> str:
    program = shutil.which("docker")
    if program is None:
        raise UsageError("docker is not installed; install Docker Engine with the Compose plugin (docs/compose.md)")
    return program
