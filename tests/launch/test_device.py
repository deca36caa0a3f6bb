"""Two runs on one machine take turns."""

import subprocess
import sys
from pathlib import Path

import pytest

from launch.device import exclusive
from nightbench.stopping import Stopped

HOLD = """
import sys, time
from pathlib import Path
from launch.device import exclusive
with exclusive(Path(sys.argv[1]), lambda: None, lambda: False):
    print("holding", flush=True)
    time.sleep(60)
"""


def test_a_second_run_waits_and_a_killed_one_does_not_keep_it_waiting(tmp_path: Path) -> None:
    lock = tmp_path / "measuring.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "holding\n"
        waits: list[str] = []

        def end_the_holder() -> None:
            waits.append("waited")
            holder.kill()

        with exclusive(lock, end_the_holder, lambda: False):
            assert waits == ["waited"]


def test_a_waiting_run_can_be_stopped(tmp_path: Path) -> None:
    lock = tmp_path / "measuring.lock"
    with exclusive(lock, lambda: None, lambda: False):
        second = exclusive(lock, lambda: None, lambda: True)
        with pytest.raises(Stopped):
            second.__enter__()
