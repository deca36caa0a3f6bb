"""MLServer with a runtime of ours, ``model.py``: ONNX Runtime or TorchScript, by the artifact's suffix.

Only V2 over gRPC is offered. Its V2 over HTTP takes JSON alone and answers binary tensors with 422; and over gRPC,
too, it makes a Python list of every tensor, which is most of what its figures show.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Metrics, Option, Protocol, ServerSpec, Stop
from servers.mlserver.config import check_options
from servers.mlserver.layout import command

__all__ = ["SERVER"]

SERVER = ServerSpec(
    name="mlserver",
    title="MLServer",
    folder=Path(__file__).parent,
    distribution="mlserver",
    formats=(Format.ONNX, Format.TORCHSCRIPT),
    protocols={Protocol.KSERVE_GRPC: "grpc"},
    command=command,
    read_only=("models",),
    ports=("http", "grpc", "metrics"),
    options=(
        Option(
            "max_batch_size",
            default=0,
            minimum=0,
            help="Waiting requests that adaptive batching joins at most; 0 joins none. Needs max_batch_time.",
        ),
        Option(
            "max_batch_time",
            default=0.0,
            minimum=0,
            help="Seconds that a request may wait for company. Needs max_batch_size.",
        ),
        Option(
            "parallel_workers",
            default=0,
            minimum=0,
            help="Processes that hold the model and take requests from the server's own; 0 runs it in that one.",
        ),
    ),
    check=check_options,
    batching=True,
    batch_proof=BatchProof("batch_items_sum", "batch_items_count", {"max_batch_size": 16, "max_batch_time": 0.02}),
    metrics=Metrics(port="metrics", path="/metrics"),
    start_estimate_s=3.0,
    stop=Stop(signal="SIGTERM", grace_s=12.0),
)
