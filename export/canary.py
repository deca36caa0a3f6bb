"""Fixed work for the GPU: where it takes longer than on other nights, its clocks are lower or it is shared.

``python -m export.canary`` does it on every GPU that it sees, in a process of its own, so that no other process holds
memory or a context there, and prints one line of JSON: nanoseconds of one product by device, the median with its 95 %
interval. What is done is never changed: its history would be worth nothing.
"""

import json
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np

from export.gpu import gpu_facts
from nightbench.errors import NightbenchError
from nightbench.figures import Estimate
from nightbench.stats.quantiles import NotEnough, quantile

__all__ = ["GPU_CANARY", "gpu_products"]

GPU_CANARY = "gpu_matrix_product"
_SIZE = 4096
_SAMPLES = 100
"""Of one product each, float32 in full precision: 137 GFLOP, 3 ms on a GPU of 50 TFLOPS."""
_WARMUP = 20
"""Products: the library is loaded in the first, and clocks that slept come up within the others."""
_ENDS_WITHIN_S = 120.0


def gpu_products() -> dict[str, Estimate]:
    """By device, ``gpu0`` and so on; empty, and at once, where there is no GPU.

    `NightbenchError` if it fails, or if torch sees none of the GPUs that the driver has.
    """
    if gpu_facts()["gpu"] == "none":
        return {}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "export.canary"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ENDS_WITHIN_S,
            start_new_session=True,
            check=True,
        )
        found = {device: Estimate(*bounds) for device, bounds in json.loads(done.stdout).items()}
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise NightbenchError(f"the GPU's canary ended with code {error.returncode}: {said}") from error
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as error:
        raise NightbenchError(f"the GPU's canary did not answer: {error}") from error
    if not found:
        raise NightbenchError("the GPU's canary could not run: this torch sees no GPU")
    return found


def _timed(torch: Any, device: int) -> Estimate:
    """Timed on the device itself, so that the host's own load is not in it."""
    random = torch.Generator(device=f"cuda:{device}").manual_seed(0)
    left, right = torch.randn((2, _SIZE, _SIZE), generator=random, device=f"cuda:{device}")
    product = torch.empty_like(left)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(_SAMPLES + 1)]
    for _ in range(_WARMUP):
        torch.matmul(left, right, out=product)
    for mark in marks[:-1]:
        mark.record()
        torch.matmul(left, right, out=product)
    marks[-1].record()
    torch.cuda.synchronize(device)
    taken = np.array([before.elapsed_time(after) * 1e6 for before, after in pairwise(marks)])
    found = quantile(taken, 0.5)
    return Estimate(float(np.median(taken))) if isinstance(found, NotEnough) else found


def main() -> None:
    import torch

    torch.set_float32_matmul_precision("highest")
    found = {}
    for device in range(torch.cuda.device_count()):
        with torch.cuda.device(device):
            found[f"gpu{device}"] = _timed(torch, device)
    print(json.dumps({device: (each.value, each.low, each.high) for device, each in found.items()}))


if __name__ == "__main__":
    main()
