"""The GPUs of this machine, as the kernel's NVIDIA driver tells of them: what is built on one may be another's loss."""

import os
from pathlib import Path

__all__ = ["gpu_facts"]

_DRIVER = Path("/proc/driver/nvidia")


def gpu_facts(driver: Path = _DRIVER) -> dict[str, str]:
    """What tells one GPU and driver from another, ``none`` where there is neither.

    No library of NVIDIA's is loaded, so that the process that looks for an artifact and the one that makes it, which
    may see other devices, find the same.
    """
    try:
        version = (driver / "version").read_text(errors="replace").partition("\n")[0].strip()
    except OSError:
        version = "none"
    return {
        "gpu": ", ".join(sorted(_models(driver))) or "none",
        "gpu_driver": version,
        "gpu_visible": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
    }


def _models(driver: Path) -> list[str]:
    """Of the files ``gpus/*/information``, the lines ``Model: NVIDIA H200``."""
    found = []
    for path in driver.glob("gpus/*/information"):
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return found
