"""OpenVINO's runtime behind FastAPI and uvicorn; it reads its own IR, and ONNX as it is."""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Option, Protocol, ServeRequest, ServerSpec
from servers.raw_http import serve_command

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    names = ("max_concurrency", "num_streams", "performance_hint")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(request.options[name]))]
    return serve_command(request, SERVER.folder, flags)


SERVER = ServerSpec(
    name="openvino",
    title="OpenVINO + FastAPI",
    folder=Path(__file__).parent,
    distribution="openvino",
    formats=(Format.ONNX, Format.OPENVINO),
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
            "num_streams",
            default=1,
            minimum=0,
            help="Groups that OpenVINO divides its threads into, one prediction in each; 0 leaves it to "
            "performance_hint. More than one needs max_concurrency to be of use.",
        ),
        Option(
            "performance_hint",
            default="latency",
            choices=("latency", "throughput"),
            help="What OpenVINO chooses its number of streams for. Acts with num_streams 0 only.",
        ),
    ),
    start_estimate_s=2.0,
)
