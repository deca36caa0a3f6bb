"""Inference Arena's monolith: one process, which detects and classifies by ONNX Runtime behind FastAPI."""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Protocol, ServeRequest, ServerSpec
from servers.arena import JOIN_CROPS, check_model, fits, flags
from servers.raw_http import serve_command

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    check_model(request.model)
    return serve_command(request, SERVER.folder, flags(request))


SERVER = ServerSpec(
    name="arena_monolith",
    title="Arena: one process",
    folder=Path(__file__).parent,
    distribution="onnxruntime",
    formats=(Format.STAGES,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    fits=fits,
    options=(JOIN_CROPS,),
    start_estimate_s=2.0,
)
