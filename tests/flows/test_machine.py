"""What identifies this machine: another GPU is other hardware, another driver is context."""

from pathlib import Path

import pytest

from export.gpu import gpu_facts
from tasks import machine


def _driver(folder: Path, model: str) -> Path:
    (folder / "gpus/0000:00:06.0").mkdir(parents=True)
    (folder / "gpus/0000:00:06.0/information").write_text(f"Model: \t\t {model}\nIRQ: 0\n")
    (folder / "version").write_text("NVRM version: 580.159.04\nGCC version: 13\n")
    return folder


def test_another_gpu_is_other_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nights of two kinds of GPU were one series."""
    place = machine.Placement(server=(0,), client=(1,))
    without = machine.hardware(place)
    facts = gpu_facts(_driver(tmp_path, "NVIDIA H200"))
    monkeypatch.setattr(machine, "gpu_facts", lambda: facts)
    assert machine.hardware(place) == f"{without}, NVIDIA H200"
    context = machine.context()
    assert (context["gpu"], context["gpu_driver"]) == ("NVIDIA H200", "NVRM version: 580.159.04")


def test_a_checkout_that_is_not_installed_can_say_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m flows.cli` on a bare GPU machine ended here."""
    from importlib.metadata import PackageNotFoundError

    def absent(_: str) -> str:
        raise PackageNotFoundError("nightbench")

    monkeypatch.setattr(machine, "version", absent)
    assert machine.context()["nightbench"] == "not installed"
