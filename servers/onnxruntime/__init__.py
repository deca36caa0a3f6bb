"""ONNX Runtime behind FastAPI and uvicorn."""

import platform
import sys
from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Option, Protocol, ServeRequest, ServerSpec
from servers.raw_http import serve_command

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    names = ("max_concurrency", "graph_optimization_level", "provider")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(request.options[name]))]
    return serve_command(request, SERVER.folder, flags)


def _distribution() -> str:
    """Which of the two builds requirements.txt installs here; the CUDA build exists for one platform only."""
    cuda = sys.platform == "linux" and platform.machine() == "x86_64"
    return "onnxruntime-gpu" if cuda else "onnxruntime"


SERVER = ServerSpec(
    name="onnxruntime",
    title="ONNX Runtime + FastAPI",
    folder=Path(__file__).parent,
    distribution=_distribution(),
    formats=(Format.ONNX,),
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
            "graph_optimization_level",
            default="all",
            choices=("all", "extended", "basic", "disabled"),
            help="How far ONNX Runtime rewrites the graph when it loads it.",
        ),
        Option(
            "provider",
            default="cpu",
            choices=("cpu", "cuda"),
            help="What executes the graph; cuda needs a GPU and the CUDA libraries, and never falls back.",
        ),
    ),
    start_estimate_s=2.0,
)
