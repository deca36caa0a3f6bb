"""TorchScript behind Flask and gunicorn: the synchronous classic."""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Option, Protocol, ServeRequest, ServerSpec
from servers.raw_http import serve_command

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    names = ("workers", "threads")
    flags = [part for name in names for part in (f"--gunicorn-{name}", str(request.options[name]))]
    return serve_command(request, SERVER.folder, flags)


SERVER = ServerSpec(
    name="flask",
    title="Flask + gunicorn",
    folder=Path(__file__).parent,
    distribution="flask",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    options=(
        Option("workers", default=1, minimum=1, help="Worker processes, each with the model loaded."),
        Option(
            "threads",
            default=1,
            minimum=1,
            help="Requests a worker handles at the same time; not the model's own threads.",
        ),
    ),
    start_estimate_s=4.0,
)
