"""ONNX Runtime behind FastAPI and uvicorn. Stages in a row run in the one process, each in a session of its own."""

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.model import Format, ModelSpec
from nightbench.server import Command, Option, OptionValue, Protocol, ServeRequest, ServerSpec
from servers.raw_http import serve_command
from servers.triton.repository import serves

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    flags = [part for name, value in request.options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return serve_command(request, SERVER.folder, flags)


def fits(model: ModelSpec, file_format: Format, options: Mapping[str, OptionValue]) -> None:
    """Stages are run one after the other, each on what is known by name."""
    if file_format is Format.STAGES and not serves(model, file_format):
        raise UsageError(
            f"between the stages of {model.name} lies more than handing tensors on, and this server does no more; "
            "choose arena_monolith, or another model"
        )


def _distribution() -> str:
    """Which of the two builds requirements.txt installs here; the CUDA build exists for one platform only."""
    cuda = sys.platform == "linux" and platform.machine() == "x86_64"
    return "onnxruntime-gpu" if cuda else "onnxruntime"


SERVER = ServerSpec(
    name="onnxruntime",
    title="ONNX Runtime + FastAPI",
    folder=Path(__file__).parent,
    distribution=_distribution(),
    formats=(Format.ONNX, Format.STAGES),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    fits=fits,
    options=(
        Option(
            "max_concurrency",
            default=1,
            minimum=1,
            help="Predictions that run at the same time, off the event loop; further requests wait their turn.",
        ),
        Option(
            "graph_optimization_level",
            default="all",
            choices=("all", "extended", "basic", "disabled"),
            help="How far ONNX Runtime rewrites the graph when it loads it.",
        ),
        Option(
            "intra_op_num_threads",
            default=0,
            minimum=0,
            help="Threads inside one operator; 0 takes the suite's `threads`, as every other server does.",
        ),
        Option(
            "execution_mode",
            default="sequential",
            choices=("sequential", "parallel"),
            help="Whether independent branches of the graph may run at the same time.",
        ),
        Option(
            "inter_op_num_threads",
            default=1,
            minimum=1,
            help="Branches that run at the same time. Acts with execution_mode parallel only.",
        ),
        Option(
            "provider",
            default="cpu",
            choices=("cpu", "cuda", "tensorrt"),
            help="What executes the graph; cuda and tensorrt need a GPU and their libraries, and never fall back.",
        ),
    ),
    start_estimate_s=2.0,
)
