"""Several processes that are one deployment: all run, or none does.

``supervise.py FILE`` starts what a JSON file lists, each with its ``argv`` and its ``env`` over this process's own, and
ends all, the last started first, when one of them ends or this process is told to. If this process is killed, the
kernel asks them to end.

The standard library alone; imports nothing of nightbench.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 10.0
"""For all of them together, from the first request to end until they are killed."""
_TOLD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1


def main() -> int:
    wanted = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Blocked, so that none is missed between two waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_TOLD, signal.SIGCHLD})
    running: list[subprocess.Popen[bytes]] = []
    try:
        for each in wanted:
            running.append(_started(each["argv"], each["env"]))  # noqa: PERF401 - those before must be ended if one fails
        while signal.sigwait({*_TOLD, signal.SIGCHLD}) == signal.SIGCHLD:
            for process, each in zip(running, wanted, strict=True):
                if process.poll() is not None:
                    print(f"{each['argv'][0]} ended with code {process.returncode}", file=sys.stderr, flush=True)
                    return 1
        return 0
    finally:
        _end(running)


def _started(argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    libc = ctypes.CDLL(None)

    def begin() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # prctl(2)
        if os.getppid() != parent:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())

    # There are no threads here that could hold a lock across the fork.
    return subprocess.Popen(argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL, preexec_fn=begin)  # noqa: PLW1509


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + GRACE_S
    for process in reversed(running):
        process.terminate()
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
