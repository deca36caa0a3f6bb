"""Heavy libraries in a process of their own: what they print, load or send is none of the night's.

A module that is asked so calls `answer` when it is run: it reads one JSON value and prints one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from nightbench.errors import NightbenchError

__all__ = ["Unanswered", "answer", "ask"]

_SILENT = {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "PYTHONWARNINGS": "ignore",
    "PYTHONNOUSERSITE": "1",
    # One processor is enough for tables of this size, and a night may share its machine.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Unanswered(NightbenchError):
    """The module failed, or took too long; the sentence says which."""


def ask(module: str, question: object, timeout_s: float) -> Any:
    """What ``python -m module`` answers to ``question``; both are plain values that JSON can hold.

    Infinite numbers are passed on. `Unanswered` if there is no answer within ``timeout_s``.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(question).encode(),
            capture_output=True,
            env={**os.environ, **_SILENT},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unanswered(f"{module} did not answer within {timeout_s:.0f} s") from error
    except OSError as error:
        raise Unanswered(f"{module} cannot be started: {error.strerror}") from error
    try:
        if done.returncode == 0:
            return json.loads(done.stdout)
    except ValueError:
        pass
    said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    raise Unanswered(f"{module} ended with code {done.returncode}: {said[-1][:300]}")


def answer(reply: Callable[[Any], object]) -> None:
    """Answer the question on stdin with what ``reply`` makes of it; whatever else is printed goes to stderr."""
    out = os.dup(1)
    os.dup2(2, 1)
    answered = json.dumps(reply(json.loads(sys.stdin.buffer.read())))
    with os.fdopen(out, "wb") as stream:
        stream.write(answered.encode())
