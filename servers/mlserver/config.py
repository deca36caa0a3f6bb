"""``settings.json`` and ``model-settings.json``: what MLServer is told of itself and of a model, by its own names."""

from collections.abc import Mapping
from typing import Any

from nightbench.errors import UsageError
from nightbench.model import ModelSpec, TensorSpec
from nightbench.server import OptionValue, ServeRequest

__all__ = ["check_options", "model_settings", "settings"]


def check_options(options: Mapping[str, OptionValue]) -> None:
    """`UsageError` where only half of adaptive batching is asked for, which MLServer takes for none."""
    size, time_s = int(options["max_batch_size"]), float(options["max_batch_time"])
    if (size > 1) != (time_s > 0):
        raise UsageError(
            f"option max_batch_size of server mlserver is {size} and max_batch_time {time_s:g}; "
            "give a size above 1 with a time above 0 to batch, or neither"
        )


def settings(request: ServeRequest) -> dict[str, Any]:
    """Of the server: loopback only, no line for every request, all files in the working directory."""
    return {
        "debug": False,
        "host": request.host,
        "http_port": request.ports["http"],
        "grpc_port": request.ports["grpc"],
        # gRPC's own bound of 4 MiB refuses seven images of 224 by 224 pixels; no other server here does.
        "grpc_max_message_length": 2**31 - 1,
        "metrics_endpoint": "/metrics",
        "metrics_port": request.ports["metrics"],
        "metrics_dir": str(request.workdir / "metrics"),
        "environments_dir": str(request.workdir / "environments"),
        "parallel_workers": request.options["parallel_workers"],
    }


def model_settings(request: ServeRequest) -> dict[str, Any]:
    """Of the model; ``extra`` is for ``model.py``."""
    model: ModelSpec = request.model
    return {
        "name": model.name,
        "implementation": "model.Model",
        "inputs": [_described(tensor) for tensor in model.inputs],
        "outputs": [_described(tensor) for tensor in model.outputs],
        "max_batch_size": request.options["max_batch_size"],
        "max_batch_time": request.options["max_batch_time"],
        "parameters": {
            "uri": str(request.artifact.path),
            "extra": {"threads": request.threads, "load_time_path": str(request.load_time_path)},
        },
    }


def _described(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.dtype.value, "shape": [-1, *tensor.shape]}
