"""Triton's native backends, for the official image: the pytriton wheel has none of them. Written, not run.

They load the artifact itself, without a Python process between: ``<model>/1/<filename>`` beside ``config.pbtxt``.
Tensors keep the names our clients use; where the PyTorch backend cannot match them to the arguments of ``forward`` it
goes by the order of the configuration, which is the model's own ("Model Configuration", section on its naming
convention).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nightbench.errors import UsageError
from nightbench.model import ModelSpec
from nightbench.server import OptionValue
from servers.triton.config import config_pbtxt

__all__ = ["NATIVE", "Native", "native_config_pbtxt"]


@dataclass(frozen=True, slots=True)
class Native:
    """One native backend, by the names its own documentation gives to things."""

    filename: str
    """What it looks for in a version's folder."""
    intra_op: str = ""
    """The parameter that holds its intra-op threads; empty where there are none."""
    inter_op: str = ""
    cpu: bool = True
    """Whether it runs without a GPU."""


NATIVE: Mapping[str, Native] = {
    "onnxruntime": Native("model.onnx", "intra_op_thread_count", "inter_op_thread_count"),
    "pytorch": Native("model.pt", "INTRA_OP_THREAD_COUNT", "INTER_OP_THREAD_COUNT"),
    # An engine of trtexec, built on the GPU that runs it (servers/tensorrt).
    "tensorrt": Native("model.plan", cpu=False),
}


def native_config_pbtxt(
    model: ModelSpec, options: Mapping[str, OptionValue], max_batch: int, threads: int, backend: str, *, gpu: bool
) -> str:
    """The model's configuration for a backend of `NATIVE`: the same scheduling, the same threads.

    `UsageError` for a backend that cannot run on a CPU, and as `config_pbtxt` does.
    """
    native = NATIVE[backend]
    if not gpu and not native.cpu:
        raise UsageError(f"Triton's {backend} backend needs a GPU; take onnxruntime or pytorch on a CPU")
    parameters = {native.intra_op: str(threads), native.inter_op: "1"} if native.intra_op else {}
    return config_pbtxt(model, options, max_batch, parameters, backend, "KIND_GPU" if gpu else "KIND_CPU")
