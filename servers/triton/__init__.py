"""Triton Inference Server: the real ``tritonserver`` of NVIDIA's pytriton wheel, with its Python backend.

The wheel has no ONNX Runtime or PyTorch backend, so ``model.py`` runs those libraries inside Triton's Python
backend, under the native backends' names: configurations, repository, scheduling, batching, protocols and metrics are
Triton's own, execution costs one more hop.
"""

from collections.abc import Mapping
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.model import Format, ModelSpec
from nightbench.server import BatchProof, Metrics, Option, OptionValue, Protocol, ServerSpec, Stop
from servers.triton.config import check_options
from servers.triton.layout import command
from servers.triton.repository import serves

__all__ = ["SERVER"]


def fits(model: ModelSpec, file_format: Format, options: Mapping[str, OptionValue]) -> None:
    """Not every model of several stages is an ensemble."""
    if not serves(model, file_format):
        raise UsageError(
            f"between the stages of {model.name} lies more than handing tensors on, and Triton's ensembles can do no "
            "more; choose arena_triton, or another model"
        )


SERVER = ServerSpec(
    name="triton",
    title="Triton (Python backend)",
    folder=Path(__file__).parent,
    distribution="nvidia-pytriton",
    formats=(Format.ONNX, Format.TORCHSCRIPT, Format.STAGES),
    protocols={
        Protocol.KSERVE_HTTP: "http",
        Protocol.KSERVE_GRPC: "grpc",
        Protocol.KSERVE_HTTP_SHM: "http",
        Protocol.KSERVE_GRPC_SHM: "grpc",
    },
    command=command,
    read_only=("models",),
    fits=fits,
    ports=("http", "grpc", "metrics"),
    options=(
        Option("dynamic_batching", default=False, help="Join waiting requests into one batch."),
        Option(
            "preferred_batch_size",
            default="",
            help="Batch sizes worth waiting for, comma-separated; empty takes what is there. "
            "Acts with dynamic_batching only.",
        ),
        Option(
            "max_queue_delay_microseconds",
            default=0,
            minimum=0,
            help="How long a request may wait for company. Acts with dynamic_batching only.",
        ),
        Option(
            "max_queue_size",
            # Triton's own default, on purpose. Measured on a tiny model with 8 requests in flight: with a bound,
            # 12 of 28 windows of 3 s held stalls of 500 ms (69 instead of 4,700 requests a second at worst), as
            # if the scheduler of a queue with a policy missed wake-ups; without one, none of 18 did.
            default=0,
            minimum=0,
            help="Waiting requests before Triton refuses more; 0 is no bound. A bound survives deep overload, "
            "which can hang this release, but stalls for 500 ms at times.",
        ),
        Option("max_batch_size", default=32, minimum=1, help="The largest batch Triton accepts or makes."),
        Option("instance_count", default=1, minimum=1, help="Copies of the model, each in a process."),
        Option(
            "model_warmup",
            default=0,
            minimum=0,
            help="Seeded requests that each copy answers before Triton calls it ready; Triton counts them as others.",
        ),
        Option(
            "graph_level",
            default=0,
            choices=(0, -1, 1, 2),
            help="ONNX: how far the graph is optimised. 0 is all, -1 basic, 1 also fusions, 2 not at all.",
        ),
        Option(
            "rate_limit",
            default="off",
            choices=("off", "execution_count"),
            help="Whether one copy of one model runs at a time, the longest waiting next.",
        ),
        Option(
            "model_control_mode",
            default="none",
            choices=("none", "explicit"),
            help="Whether clients may load and unload models while it runs.",
        ),
        Option(
            "ensemble",
            default=False,
            help="Serve the model as the second step of an ensemble. The first hands the inputs on as they are, "
            "in a process of its own, so that the figures show what a step of pre-processing costs at least. "
            "A model of several stages is an ensemble without it.",
        ),
    ),
    check=check_options,
    batching=True,
    batch_proof=BatchProof(
        "nv_inference_count",
        "nv_inference_exec_count",
        {"dynamic_batching": True, "max_queue_delay_microseconds": 20_000},
    ),
    metrics=Metrics(port="metrics", path="/metrics"),
    start_estimate_s=5.0,
    stop=Stop(signal="SIGTERM", grace_s=12.0),
)
