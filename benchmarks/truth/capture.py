"""tcpdump on the loopback interface, for as long as a block lasts."""

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launch.limits import affinity
from nightbench.errors import UsageError

__all__ = ["Capture", "capturing"]

_STARTS_WITHIN_S = 10.0
_FLUSH_S = 1.5
"""The kernel hands packets over in blocks, a second old at most (libpcap's default of tcpdump)."""
_SNAP_BYTES = 96
"""Ethernet 14, IP 20, TCP 32 with its time stamps, and the first bytes of the payload."""


@dataclass(slots=True)
class Capture:
    """What was captured; ``dropped`` is known when the block has ended."""

    path: Path
    dropped: int = -1

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()


@contextmanager
def capturing(path: Path, port: int, cpus: tuple[int, ...] | None) -> Iterator[Capture]:
    """Every TCP segment to and from ``port``. `UsageError` where there is no tcpdump, or no right to capture."""
    program = shutil.which("tcpdump", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise UsageError("benchmarks.truth: tcpdump is not installed; install it (Debian: tcpdump)")
    options = ("-i", "lo", "-n", "-B", "65536", "-s", str(_SNAP_BYTES), "--time-stamp-precision=nano")
    with affinity(cpus):
        process = subprocess.Popen(
            (program, *options, "-Z", "root", "-w", str(path), "tcp", "port", str(port)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    with process:
        try:
            said = _listening(process)
            capture = Capture(path)
            yield capture
            time.sleep(_FLUSH_S)
            process.send_signal(signal.SIGINT)
            said += process.communicate()[1].decode()
        finally:
            process.kill()
    summary = re.search(r"(\d+) packets? dropped by kernel", said)
    if summary is None:
        raise RuntimeError(f"tcpdump did not say what it dropped: {said[-300:]}")
    capture.dropped = int(summary[1])


def _listening(process: "subprocess.Popen[bytes]") -> str:
    assert process.stderr is not None
    said, deadline = b"", time.monotonic() + _STARTS_WITHIN_S
    while b"listening on" not in said:
        if not select.select([process.stderr], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise RuntimeError("tcpdump did not start to listen")
        piece = os.read(process.stderr.fileno(), 4096)
        if not piece:
            raise UsageError(f"benchmarks.truth: tcpdump cannot capture on lo; run it as root: {said.decode().strip()}")
        said += piece
    return said.decode()
