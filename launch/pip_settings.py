"""What pip is told on this machine, for an image to be built with it and to keep nothing of it.

Read as pip reads it: its configuration files, then ``PIP_*`` in the environment ("Configuration", pip's documentation).
Where packages come from and how they are fetched is taken over; what to install and where to is the image's own matter.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

__all__ = ["PipSettings", "lend_wheels", "pip_settings"]

_TAKEN = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "timeout", "retries")
_SEVERAL = {"extra-index-url", "find-links", "trusted-host"}
_FILES = {"cert": "ca.pem", "client-cert": "client.pem"}
"""Settings that name a file, and what the file is called as a secret of the build."""
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_SECRETS = "/run/secrets"
"""Where BuildKit shows a secret by its id."""
_WHEELS = "/wheels"
_HREF = re.compile(r"""<a\s[^>]*?href=["']([^"'#]+)""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What a build is told, and the folders of packages on this machine that it cannot see."""

    settings: Mapping[str, str]
    files: Mapping[str, Path]
    """Certificates, by their name among the secrets."""
    folders: tuple[Path, ...]
    """Flat folders of packages (``--find-links``)."""
    indexes: tuple[Path, ...]
    """Package indexes of files: a folder for each project (PEP 503)."""

    @property
    def text(self) -> str:
        """A ``pip.conf`` for the build. It may hold passwords."""
        lines = [f"{name} = {value}" for name, value in self.settings.items()]
        lines += [f"{name} = {_SECRETS}/{file}" for name, file in _FILES.items() if file in self.files]
        return "\n".join(("[global]", "disable-pip-version-check = true", *lines, ""))


def pip_settings(env: Mapping[str, str] = os.environ) -> PipSettings:
    """As they are now. A configuration file that cannot be read counts as none, as pip would not start with it."""
    said = _configured(env) | {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in env.items()
        if name.startswith("PIP_") and value
    }
    if "default-timeout" in said:
        said.setdefault("timeout", said["default-timeout"])
    if proxy := env.get("HTTPS_PROXY") or env.get("https_proxy"):
        said.setdefault("proxy", proxy)
    if authorities := next((env[name] for name in _AUTHORITIES if env.get(name)), ""):
        said.setdefault("cert", authorities)
    settings: dict[str, str] = {}
    local: dict[str, list[Path]] = {"find-links": [], "index-url": [], "extra-index-url": []}
    for name in _TAKEN:
        kept = []
        for part in said.get(name, "").split() if name in _SEVERAL or name in local else [said.get(name, "")]:
            path = _local(part) if name in local else None
            if path is None:
                kept.append(part)
            else:
                local[name].append(path)
        if value := " ".join(filter(None, kept)):
            settings[name] = value
    settings["find-links"] = " ".join(filter(None, (settings.get("find-links"), _WHEELS)))
    return PipSettings(
        settings=settings,
        files={
            file: Path(said[name]) for name, file in _FILES.items() if said.get(name) and Path(said[name]).is_file()
        },
        folders=tuple(local["find-links"]),
        indexes=(*local["index-url"], *local["extra-index-url"]),
    )


def lend_wheels(settings: PipSettings, requirements: str, into: Path) -> list[str]:
    """Put into ``into`` what the folders on this machine have of a list of pins; the files' names.

    A local version counts as the version it is one of: ``2.13.0+cpu`` serves ``==2.13.0``, as it does for pip.
    """
    into.mkdir(parents=True, exist_ok=True)
    pins = dict(_pins(requirements))
    found = {path.name: path for path in reversed([*_candidates(settings, pins)]) if _is_pinned(path.name, pins)}
    for name, path in found.items():
        try:
            os.link(path, into / name)
        except OSError:
            shutil.copyfile(path, into / name)
    return sorted(found)


def _configured(env: Mapping[str, str]) -> dict[str, str]:
    home = Path(env.get("HOME") or Path.home())
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    own, environment = env.get("PIP_CONFIG_FILE"), env.get("VIRTUAL_ENV")
    said: dict[str, str] = {}
    files = [Path(folder, "pip/pip.conf") for folder in (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    files += [Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    files += [Path(environment, "pip.conf")] if environment else []
    files += [Path(own)] if own else []
    for path in () if own == os.devnull else files:
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except (OSError, Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            # As pip does, which takes either spelling.
            found = parser[section] if parser.has_section(section) else {}
            said |= {name.replace("_", "-"): value for name, value in found.items()}
    return said


def _local(text: str) -> Path | None:
    """The folder on this machine that a setting names; ``None`` for an address."""
    parts = urlsplit(text)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme or not text else Path(text).expanduser().absolute()


def _pins(requirements: str) -> Iterator[tuple[str, Version]]:
    for line in requirements.splitlines():
        try:
            asked = Requirement(line.partition(" #")[0].strip().removesuffix("\\"))
        except InvalidRequirement:
            continue
        for one in asked.specifier:
            if one.operator == "==" and not one.version.endswith(".*"):
                yield canonicalize_name(asked.name), Version(one.version)


def _candidates(settings: PipSettings, names: Iterable[str]) -> Iterator[Path]:
    for folder in settings.folders:
        yield from folder.glob("*") if folder.is_dir() else ()
    for index in settings.indexes:
        for name in names:
            yield from _listed(index / name)


def _listed(project: Path) -> Iterator[Path]:
    """The files of one project of an index of files: those in its folder, or those that its page names."""
    page = project / "index.html"
    if page.is_file():
        for href in _HREF.findall(page.read_text(encoding="utf-8", errors="replace")):
            path = _local(urljoin(page.as_uri(), href))
            if path is not None and path.is_file():
                yield path
    elif project.is_dir():
        yield from project.iterdir()


def _is_pinned(filename: str, pins: Mapping[str, Version]) -> bool:
    try:
        name, version = (
            parse_wheel_filename(filename)[:2] if filename.endswith(".whl") else parse_sdist_filename(filename)
        )
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return False
    wanted = pins.get(name)
    return wanted is not None and (version == wanted or Version(version.public) == wanted)
