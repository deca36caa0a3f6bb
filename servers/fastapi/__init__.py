"""PyTorch behind FastAPI and uvicorn: the service most teams write first, and the batching they add next.

The model is TorchScript, or eager PyTorch: the operators of an archive of `torch.export`, one by one.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec
from servers.raw_http import serve_command

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    names = ("max_concurrency", "max_batch_size", "batch_timeout_ms", "device")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(request.options[name]))]
    return serve_command(request, SERVER.folder, flags)


SERVER = ServerSpec(
    name="fastapi",
    title="FastAPI + PyTorch",
    folder=Path(__file__).parent,
    distribution="fastapi",
    formats=(Format.TORCHSCRIPT, Format.TORCH_EXPORT),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    options=(
        Option(
            "max_concurrency",
            default=1,
            minimum=1,
            help="Predictions that run at the same time, off the event loop; further requests wait their turn.",
        ),
        Option(
            "max_batch_size",
            default=1,
            minimum=1,
            help="Rows of waiting requests that are joined into one prediction; 1 joins nothing. "
            "A request of more rows runs alone.",
        ),
        Option(
            "batch_timeout_ms",
            default=0.0,
            minimum=0,
            help="How long a request may wait for company. Acts with max_batch_size above 1 only.",
        ),
        Option(
            "device",
            default="cpu",
            choices=("cpu", "cuda"),
            help="Where the model runs; copying to a GPU and back is part of every prediction.",
        ),
    ),
    batching=True,
    batch_proof=BatchProof(
        "predict_inferences", "predict_executions", {"max_batch_size": 32, "batch_timeout_ms": 20.0}
    ),
    metrics=Metrics(port="http", path="/metrics"),
    start_estimate_s=3.0,
)
