"""What is planted: faults in copies of a real server, and a machine that is slower as a whole."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import servers

__all__ = ["NAMES", "Garden", "slower_machine"]

NAMES = ("amber", "birch", "cedar")
"""Three servers alike: copies of ``servers/onnxruntime``. The first is the one that gets slower."""
_SOURCE = Path(servers.__file__).parent / "onnxruntime"
_ANSWER = "        return opened.run(outputs, dict(zip(names, inputs, strict=True)))\n"
_SLOWER = """\
        began_ns = time.perf_counter_ns()
        answers = opened.run(outputs, dict(zip(names, inputs, strict=True)))
        # Planted: as a slower library would, it takes its share of what is computed.
        until_ns = time.perf_counter_ns() + {share} * (time.perf_counter_ns() - began_ns)
        while time.perf_counter_ns() < until_ns:
            pass
        return answers
"""
_DECOY = ("click==8.5.1", "click==8.5.0")


class Garden:
    """A folder of server folders, as ``NIGHTBENCH_SERVERS_PATH`` names one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in NAMES:
            shutil.copytree(_SOURCE, folder / name, ignore=shutil.ignore_patterns("__pycache__", "Dockerfile"))
            self._rewrite(name, "__init__.py", 'name="onnxruntime"', f'name="{name}"')

    def slow_down(self, share: float) -> None:
        """The first server takes ``share`` more of its computing time from now on, and one of its packages changes."""
        self._rewrite(NAMES[0], "serve.py", _ANSWER, _SLOWER.format(share=share))
        self._rewrite(NAMES[0], "requirements.txt", *_DECOY)

    def mend(self) -> None:
        """Its code is as it was; the package stays changed, for it did no harm."""
        shutil.copy2(_SOURCE / "serve.py", self.folder / NAMES[0] / "serve.py")

    def _rewrite(self, name: str, file: str, old: str, new: str) -> None:
        path = self.folder / name / file
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise RuntimeError(f"{path} does not hold {old!r}: the real server has changed, and so must this story")
        path.write_text(text.replace(old, new), encoding="utf-8")


@contextmanager
def slower_machine(share: float, root: Path = Path("/sys/fs/cgroup/cpu")) -> Iterator[Sequence[str]]:
    """A command to put before another, which lets all of it have no more than ``share`` of one processor.

    By a quota of the kernel's scheduler (cgroup v1's ``cpu.cfs_quota_us``), as a busy host or a lower clock would.
    """
    group = root / f"nightbench-story-{os.getpid()}"
    group.mkdir()
    try:
        # The shortest that the kernel takes for this share: what takes a millisecond must feel it as well.
        period_us = int(1_000 / share)
        (group / "cpu.cfs_period_us").write_text(str(period_us))
        (group / "cpu.cfs_quota_us").write_text("1000")
        yield ("/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        group.rmdir()
