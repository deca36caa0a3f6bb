"""Triton's backends for our formats, by their own names, files and parameters.

The official image has them natively, which is written and not run. The pytriton wheel has none of them: there
``model.py`` stands in under the same names, as one of Triton's Python-based backends, so that one ``config.pbtxt`` and
one ``<model>/<version>/<filename>`` serve both.

Tensors keep the names our clients use. A TorchScript file has none: where the PyTorch backend cannot match them to the
arguments of ``forward`` it goes by the order of the configuration, which is the model's own ("PyTorch Backend", section
on its naming convention); ``INPUT__0`` and its kin say no more than that order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nightbench.errors import UsageError
from nightbench.model import Format, ModelSpec
from nightbench.server import OptionValue
from servers.triton.config import config_pbtxt

__all__ = ["BACKENDS", "NATIVE", "Native", "native_config_pbtxt"]


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

BACKENDS: Mapping[Format, str] = {
    Format.ONNX: "onnxruntime",
    Format.TORCHSCRIPT: "pytorch",
    Format.STAGES: "onnxruntime",
    Format.TENSORRT: "tensorrt",
}
"""What serves a format; `Format.STAGES` each stage."""


def native_config_pbtxt(
    model: ModelSpec,
    options: Mapping[str, OptionValue],
    max_batch: int,
    threads: int | None,
    backend: str,
    *,
    gpu: bool,
    version: int | None = None,
    parameters: Mapping[str, str] | None = None,
) -> str:
    """The model's configuration for a backend of `NATIVE`: the same scheduling, the same threads.

    ``threads`` of ``None`` are the backend's own default. `UsageError` for a backend that cannot run on a CPU, and as
    `config_pbtxt` does.
    """
    native = NATIVE[backend]
    if not gpu and not native.cpu:
        raise UsageError(f"Triton's {backend} backend needs a GPU; take onnxruntime or pytorch on a CPU")
    told = {} if threads is None or not native.intra_op else {native.intra_op: str(threads), native.inter_op: "1"}
    kind = "KIND_GPU" if gpu else "KIND_CPU"
    return config_pbtxt(model, options, max_batch, {**told, **(parameters or {})}, backend, kind, version)
