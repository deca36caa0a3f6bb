"""uv, the installer, run so that it is labelled as ours, ends with us, and fails in one sentence."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from launch.labels import OWNER, Owner
from launch.logs import readable
from launch.output import lines_of
from nightbench.errors import DeploymentError

__all__ = ["Uv", "failure_sentence"]

_STEPS = ("Resolved", "Building", "Built", "Prepared", "Installed", "Bytecode compiled")
_LONGEST = 400


def failure_sentence(output: str) -> str:
    """What went wrong, from uv's output: its ``error:`` with the causes behind it, else its last line."""
    lines = [line.strip() for line in readable(output).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("hint:")]
    begin = next((n for n, line in enumerate(lines) if line.startswith("error:")), None)
    if begin is None:
        return lines[-1][:_LONGEST] if lines else "it printed nothing"
    causes = [line.removeprefix("cause:").strip() for line in lines[begin:] if line.startswith("cause:")]
    parts = [lines[begin].removeprefix("error:").strip(), *causes]
    # The traceback of a package that would not build ends with the reason.
    if lines[-1] not in {lines[begin], f"cause: {parts[-1]}"}:
        parts.append(lines[-1])
    return ": ".join(parts)[:_LONGEST]


def _find() -> str:
    try:
        import uv
    except ImportError:
        from shutil import which

        found = which("uv")
    else:
        found = uv.find_uv_bin()
    if found is None:
        raise DeploymentError(
            "no_environment",
            f"uv is not installed; run `{Path(sys.executable).name} -m pip install uv`, or set "
            "NIGHTBENCH_ENVIRONMENTS=host to use the packages of this interpreter",
        )
    return found


class Uv:
    """Runs uv for one environment."""

    def __init__(
        self,
        name: str,
        log: TextIO,
        lock: int,
        on_event: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """``lock`` is the descriptor of the held lock file: uv keeps it locked should we be killed meanwhile."""
        self._name = name
        self._log = log
        self._lock = lock
        self._on_event = on_event
        self._should_stop = should_stop
        self._program = _find()
        self._env = {**os.environ, OWNER: Owner.current().label, "UV_PYTHON_DOWNLOADS": "never"}
        self._env.pop("VIRTUAL_ENV", None)
        # uv has its own name for pip's setting.
        if "PIP_FIND_LINKS" in os.environ:
            self._env.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])

    def run(self, *arguments: str) -> None:
        """Run one command to its end.

        `DeploymentError` of kind ``no_environment`` if it fails, `Stopped` soon after ``should_stop`` turns true.
        """
        output: list[str] = []
        with subprocess.Popen(
            (self._program, *arguments),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(self._lock,),
            start_new_session=True,  # a group of its own: what builds a package must end with it, and drop the lock
        ) as process:
            try:
                stopped = f"stopped while the environment of {self._name} was being built"
                for line in lines_of(process.stdout, self._should_stop, stopped) if process.stdout else ():
                    self._log.write(line)
                    self._log.flush()
                    output.append(line)
                    if line.strip().startswith(_STEPS):
                        self._on_event(f"environment of {self._name}: {readable(line).strip()}")
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode != 0:
            raise DeploymentError(
                "no_environment",
                f"the environment of {self._name} could not be built: {failure_sentence(''.join(output))}",
                "".join(output[-20:]),
            )
