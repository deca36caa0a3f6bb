"""Inference Arena's Triton: a gateway in a process of its own asks the real ``tritonserver`` for both models by gRPC.

Repository, command and backend are those of `servers/triton`.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Metrics, Option, Protocol, ServerSpec, Stop
from servers.arena import JOIN_CROPS, fits
from servers.arena_triton.layout import command

__all__ = ["SERVER"]

SERVER = ServerSpec(
    name="arena_triton",
    title="Arena: a gateway and Triton",
    folder=Path(__file__).parent,
    distribution="nvidia-pytriton",
    formats=(Format.STAGES,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    read_only=("models",),
    fits=fits,
    ports=("http", "triton_http", "triton_grpc", "metrics"),
    options=(
        JOIN_CROPS,
        Option(
            "dynamic_batching",
            default=False,
            help="Let Triton join the waiting calls of a model into one batch, so the crops of an image.",
        ),
        Option(
            "max_queue_delay_microseconds",
            default=0,
            minimum=0,
            help="How long a call may wait for company. Acts with dynamic_batching only.",
        ),
    ),
    batching=True,
    batch_proof=BatchProof(
        "nv_inference_count",
        "nv_inference_exec_count",
        {"dynamic_batching": True, "max_queue_delay_microseconds": 20_000},
    ),
    # Triton's own page: it counts calls of the two models, not requests of clients.
    metrics=Metrics(port="metrics", path="/metrics"),
    start_estimate_s=5.0,
    stop=Stop(signal="SIGTERM", grace_s=14.0),
)
