"""Docker Compose for tests, and the repository's stack in a folder of its own."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from flows.compose import ROOT

__all__ = ["copy_stack", "install_compose"]

_TRIXIE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {site} trixie main\n"
_COPIED = (
    *("api", "dashboards", "db", "export", "flows", "launch", "loadgen", "nightbench", "servers", "suites", "tasks"),
    *("model_repository", "pyproject.toml", "README.md", "LICENSE", "requirements.lock", ".env.example"),
    *("docker-compose.yml", "docker-compose.worker.yml", "docker-compose.gpu.yml"),
)


def install_compose(config: Path, scratch: Path) -> None:
    """Make `docker compose` work with ``config`` as its folder, from Debian's next release where this has none.

    Nothing is installed in the system: package lists and the unpacked plugin stay in ``scratch``.
    """
    env = {**os.environ, "DOCKER_CONFIG": str(config)}
    if subprocess.run(("docker", "compose", "version"), env=env, capture_output=True, check=False).returncode == 0:
        return
    for name in ("lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    (scratch / "trixie.list").write_text(_TRIXIE.format(site=_debian()))
    options = {
        "Dir::Etc::SourceList": scratch / "trixie.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": scratch / "lists",
        "Dir::Cache": scratch / "cache",
    }
    apt = ("apt-get", "--quiet=2", *(word for name, value in options.items() for word in ("-o", f"{name}={value}")))
    for command in ((*apt, "update"), (*apt, "download", "docker-compose")):
        subprocess.run(command, cwd=scratch, check=True, capture_output=True)
    (package,) = scratch.glob("docker-compose_*.deb")
    subprocess.run(("dpkg", "--extract", package.name, "unpacked"), cwd=scratch, check=True)
    (config / "cli-plugins").mkdir(parents=True, exist_ok=True)
    plugin = scratch / "unpacked/usr/libexec/docker/cli-plugins/docker-compose"
    shutil.copy2(plugin, config / "cli-plugins" / "docker-compose")


def _debian() -> str:
    """Where this machine has its own Debian packages from."""
    asked = ("apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian", "Component: main")
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def copy_stack(root: Path) -> None:
    """What an image is built from, and the compose files, without what else lies in a working tree."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in _COPIED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, root / name, ignore=ignored)
        else:
            shutil.copy2(path, root / name)


def write_env(root: Path, values: Mapping[str, object]) -> None:
    """``.env`` as the example has it, with these values; quoted as Compose reads it."""
    lines = (root / ".env.example").read_text(encoding="utf-8").splitlines()
    known = {line.partition("=")[0] for line in lines if line and line[0] != "#"}
    assert set(values) <= known, set(values) - known
    kept = [line for line in lines if line.partition("=")[0] not in values]
    quoted = (str(value).replace("\\", "\\\\").replace("'", "\\'") for value in values.values())
    written = [f"{name}='{value}'" for name, value in zip(values, quoted, strict=True)]
    (root / ".env").write_text("\n".join([*kept, *written]) + "\n", encoding="utf-8")
