"""TorchScript behind FastAPI and uvicorn: the service most teams write first."""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Option, Protocol, ServeRequest, ServerSpec
from servers.raw_http import serve_command

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    return serve_command(request, SERVER.folder, ("--max-concurrency", str(request.options["max_concurrency"])))


SERVER = ServerSpec(
    name="fastapi",
    title="FastAPI + TorchScript",
    folder=Path(__file__).parent,
    distribution="fastapi",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    options=(
        Option(
            "max_concurrency",
            default=1,
            minimum=1,
            help="Predictions that run at the same time, off the event loop; further requests wait their turn.",
        ),
    ),
    start_estimate_s=3.0,
)
