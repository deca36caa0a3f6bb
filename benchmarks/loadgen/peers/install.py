"""Peers that live outside our environment: `python -m benchmarks.loadgen.peers.install`, or at their first use.

perf_analyzer is a program in the wheels of tritonclient; 2.51 is the last that runs on glibc 2.36. Two libraries it
needs are in the wheel of nvidia-pytriton. Locust has a virtual environment, for it would change what we run with.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

__all__ = ["locust", "perf_analyzer", "why_not"]

_FOLDER = Path(__file__).parent
_PERF_ANALYZER = {
    "*/bin/perf_analyzer": "perf_analyzer",
    "*/libb64-*.so.0d": "libb64.so.0d",
    "*/libcudart-*.so.12*": "libcudart.so.12",
}


def _root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightbench/peers"


def perf_analyzer() -> Path:
    """The program, installed if need be; `RuntimeError` in words if it cannot be had. Its libraries lie beside it."""
    return _once("perf_analyzer", _get_perf_analyzer) / "perf_analyzer"


def locust() -> Path:
    """Likewise."""
    return _once("locust", _get_locust) / "bin/locust"


def why_not(peer: Callable[[], Path]) -> str:
    """Empty if the peer is here by now."""
    try:
        peer()
    except (RuntimeError, OSError) as error:
        return str(error)
    return ""


def _once(name: str, get: Callable[[Path], None]) -> Path:
    """The folder of a peer, which is there whole or not at all: the stamp is written last."""
    folder = _root() / name
    stamp = folder / f".complete-{_pins(name)}"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"installing {name} into {folder}", file=sys.stderr)
        get(folder)
        stamp.touch()
    return folder


def _pins(name: str) -> str:
    return sha256((_FOLDER / f"{name}.txt").read_bytes()).hexdigest()[:12]


def _get_perf_analyzer(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as downloads:
        pins = str(_FOLDER / "perf_analyzer.txt")
        _pip(sys.executable, "download", "--no-deps", "--require-hashes", "--dest", downloads, "-r", pins)
        for wheel in Path(downloads).glob("*.whl"):
            with ZipFile(wheel) as archive:
                for member in archive.namelist():
                    for pattern, name in _PERF_ANALYZER.items():
                        if fnmatch(member, pattern):
                            (folder / name).write_bytes(archive.read(member))
    (folder / "perf_analyzer").chmod(0o755)


def _get_locust(folder: Path) -> None:
    # In place: its scripts hold its path.
    venv.create(folder, with_pip=True)
    _pip(str(folder / "bin/python"), "install", "-r", str(_FOLDER / "locust.txt"))


def _pip(python: str, *arguments: str) -> None:
    done = subprocess.run(
        (python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise RuntimeError(f"pip could not get it: {lines[-1] if lines else done.stderr.strip()[-200:]}")


def main() -> None:
    for name, peer in (("perf_analyzer", perf_analyzer), ("locust", locust)):
        if reason := why_not(peer):
            print(f"absent: {name}: {reason}")
        else:
            print(f"{name}: {peer()}")


if __name__ == "__main__":
    main()
