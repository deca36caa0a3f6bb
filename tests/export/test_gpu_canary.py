"""The GPU's canary where there is none: it costs nothing, and a failure is words."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from export import canary
from export.canary import gpu_products
from nightbench.errors import NightbenchError
from nightbench.figures import Estimate


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], None]:
    """A machine with a GPU, on which the canary says this and ends so."""

    def make(said: bytes, code: int = 0) -> None:
        def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[bytes]":
            assert command == [sys.executable, "-m", "export.canary"]
            if code:
                raise subprocess.CalledProcessError(code, command, b"", said)
            return subprocess.CompletedProcess(command, 0, said, b"")

        monkeypatch.setattr(canary, "gpu_facts", lambda: {"gpu": "NVIDIA H200"})
        monkeypatch.setattr(subprocess, "run", run)

    return make


def test_without_a_gpu_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "gpu_facts", lambda: {"gpu": "none"})
    monkeypatch.delattr(subprocess, "run")
    assert gpu_products() == {}


def test_each_gpu_has_its_figure(answering: Callable[..., None]) -> None:
    answering(b'{"gpu0": [3e6, 2.9e6, 3.1e6], "gpu1": [4e6, null, null]}\n')
    assert gpu_products() == {"gpu0": Estimate(3e6, 2.9e6, 3.1e6), "gpu1": Estimate(4e6)}


@pytest.mark.parametrize(
    ("said", "code", "why"),
    [
        (b"{}", 0, "this torch sees no GPU"),
        (b"warming up", 0, "did not answer"),
        (b"Traceback\nRuntimeError: CUDA out of memory", 1, "ended with code 1: RuntimeError: CUDA out of memory"),
    ],
)
def test_what_goes_wrong_is_said(answering: Callable[..., None], said: bytes, code: int, why: str) -> None:
    answering(said, code)
    with pytest.raises(NightbenchError, match=why):
        gpu_products()


def test_on_this_machine_the_child_itself_runs() -> None:
    """Without a GPU it has nothing to say, and says that."""
    done = subprocess.run([sys.executable, "-m", "export.canary"], capture_output=True, check=True, timeout=120)
    assert done.stdout.startswith(b"{")
