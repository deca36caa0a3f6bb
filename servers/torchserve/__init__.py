"""TorchServe: a Java front end that queues and batches, and Python workers that each hold the model."""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Metrics, Option, Protocol, ServerSpec, Stop
from servers.torchserve.layout import command

__all__ = ["SERVER"]

SERVER = ServerSpec(
    name="torchserve",
    title="TorchServe",
    folder=Path(__file__).parent,
    distribution="torchserve",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.TORCHSERVE: "http", Protocol.TORCHSERVE_GRPC: "grpc"},
    command=command,
    read_only=("store",),
    ports=("http", "management", "metrics", "grpc", "grpc_management"),
    options=(
        Option("batch_size", default=1, minimum=1, help="The most requests joined into one batch; 1 joins none."),
        Option(
            "max_batch_delay",
            # At 0 TorchServe stops after the second request it finds waiting; its own 100 would be felt by everyone.
            default=1,
            minimum=1,
            help="How many milliseconds a request may wait for company. Acts with batch_size over 1 only.",
        ),
        Option("default_workers_per_model", default=1, minimum=1, help="Worker processes, each with the model loaded."),
        Option("job_queue_size", default=100, minimum=1, help="Waiting requests before TorchServe refuses more (503)."),
    ),
    batching=True,
    batch_proof=BatchProof("model_requests", "model_executions", {"batch_size": 16, "max_batch_delay": 20}),
    metrics=Metrics(port="metrics", path="/metrics"),
    needs=("java",),
    start_estimate_s=5.0,
    stop=Stop(signal="SIGTERM", grace_s=10.0),
)
