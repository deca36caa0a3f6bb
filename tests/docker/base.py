"""A base image from this machine's own Debian packages, for where no registry can be reached.

Its files are those that dpkg lists for a few packages and all that they depend on, laid out as Debian lays them out,
with this machine's certificate authorities. It stands for ``python:3.11-slim``: Python 3.11 with venv and pip, and what
the images of some servers would otherwise install by ``apt-get``.
"""

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

__all__ = ["BASE", "import_base", "packages", "write_base"]

BASE = "nightbench/base:test"
_WANTED = (
    *("base-files", "bash", "coreutils", "dash", "debianutils", "findutils", "grep", "sed", "tar", "gzip", "hostname"),
    *("libc-bin", "passwd", "login", "procps", "perl-base", "ca-certificates", "curl"),
    *("python3", "python3-venv", "python3-pip", "libpython3.11"),
    *("libgomp1", "libjemalloc2", "libstdc++6"),
)
_IF_THERE = ("openjdk-17-jre-headless",)
"""What some images install where their base has none."""
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Links into ``/usr`` since Debian 12, while dpkg still lists the old names."""
_LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/lintian/")
_ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nshadow:x:42:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\nshadow:*::\nnogroup:*::\n",
}


def import_base(url: str, name: str = BASE) -> None:
    """Give the engine at ``url`` the image, unless it has one of that name."""
    env = {**os.environ, "DOCKER_HOST": url}
    if subprocess.run(("docker", "image", "inspect", name), env=env, capture_output=True, check=False).returncode == 0:
        return
    change = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8"
    load = ("docker", "import", "--change", change, "-", name)
    with subprocess.Popen(load, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        with process.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
            write_base(archive)
    assert process.returncode == 0, f"docker import ended with {process.returncode}"


def write_base(archive: tarfile.TarFile, wanted: Iterable[str] = (*_WANTED, *_IF_THERE)) -> None:
    """The image's files, each once, its folders before it."""
    for name in _MERGED:
        if (Path("/") / name).is_symlink():
            _link(archive, name, f"usr/{name}")
    for path in ("tmp", "var/tmp"):
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(entry)
    for path, text in _ACCOUNTS.items():
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(text), 0o640 if "shadow" in path else 0o644
        archive.addfile(entry, io.BytesIO(text.encode()))
    _link(archive, "usr/local/bin/python", "/usr/bin/python3")
    written = {*_MERGED, "tmp", "var/tmp", *_ACCOUNTS}
    paths = {*_files(packages(wanted)), *_alternatives(), *_certificates()}
    for name, path in sorted((_merged(path), path) for path in paths):
        if name and name not in written and not path.startswith(_LEFT_OUT):
            written.add(name)
            archive.add(path, name, recursive=False, filter=_nobody_in_particular)


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    archive.addfile(entry)


def _nobody_in_particular(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uname = entry.gname = ""
    return entry


def _merged(path: str) -> str:
    parts = PurePosixPath(path).parts[1:]
    return "/".join(("usr", *parts) if len(parts) > 1 and parts[0] in _MERGED else parts)


@cache
def _known() -> dict[str, list[str]]:
    """What each installed package depends on, the first of several that would do."""
    said = subprocess.run(
        ("dpkg-query", "--show", "--showformat=${Package}\t${Status}\t${Pre-Depends}, ${Depends}\t${Provides}\n"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known: dict[str, list[str]] = {}
    provided: dict[str, list[str]] = {}
    for line in said.splitlines():
        name, status, depends, provides = line.split("\t")
        if status.endswith(" installed"):
            known[name] = re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9.+-]*)", depends)
            for virtual in re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9.+-]*)", provides):
                provided.setdefault(virtual, []).append(name)
    return {**{name: each for name, each in provided.items() if name not in known}, **known}


def packages(wanted: Iterable[str]) -> set[str]:
    """``wanted`` and all they depend on, as far as they are installed."""
    known, found, waiting = _known(), set[str](), list(wanted)
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting += known[name]
    return found


def _files(names: Iterable[str]) -> Iterator[str]:
    said = subprocess.run(
        ("dpkg-query", "--listfiles", *sorted(names)), capture_output=True, text=True, check=False
    ).stdout
    yield from (line for line in said.splitlines() if line.startswith("/") and line != "/." and os.path.lexists(line))


def _alternatives() -> Iterator[str]:
    """Links that Debian makes when it installs, which no package lists: those whose end is in the image or dangles."""
    for path in Path("/etc/alternatives").iterdir():
        yield str(path)
    for folder in map(Path, ("/usr/bin", "/usr/sbin")):
        for path in folder.iterdir():
            if path.is_symlink() and str(path.readlink()).startswith("/etc/alternatives/"):
                yield str(path)


def _certificates() -> Iterator[str]:
    for top in map(Path, ("/etc/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates")):
        yield from (str(path) for path in (top, *top.rglob("*")) if "private" not in path.parts)
    yield "/etc/ld.so.cache"
