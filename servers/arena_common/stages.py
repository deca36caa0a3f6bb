"""The exported models: what ``stages.json`` says of them, and ONNX Runtime with equal settings for all who run one.

Imports nothing of nightbench.
"""

import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def described(artifact: Path, stage: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one input and the one output of a stage: name, shape without the batch axis, and type."""
    stages = json.loads((artifact / "stages.json").read_text(encoding="utf-8"))["stages"]
    found = next(each for each in stages if each["name"] == stage)
    (given,), (told,) = found["inputs"], found["outputs"]
    return given, told


def crop_side(artifact: Path) -> int:
    """Pixels along each side of what the classifier takes."""
    return int(described(artifact, "classify")[0]["shape"][-1])


def load(artifact: Path, stage: str, threads: int, load_time: Path) -> Callable[[Array], Array]:
    """One stage in this process. How long loading took is added to the figure in ``load_time``."""
    import onnxruntime

    given, told = described(artifact, stage)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors only
    started = time.monotonic_ns()
    session = onnxruntime.InferenceSession(
        str(artifact / f"{stage}.onnx"), settings, providers=["CPUExecutionProvider"]
    )
    _add(load_time, time.monotonic_ns() - started)

    def call(array: Array) -> Array:
        answer: Array = session.run([told["name"]], {given["name"]: array})[0]
        return answer

    return call


def _add(path: Path, took_ns: int) -> None:
    """Processes share the file."""
    with path.open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        total = int(file.read() or 0) + took_ns
        file.truncate(0)
        file.write(str(total))
