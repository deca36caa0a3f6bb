"""A server of a user's own: all it takes is this folder. Its options make it misbehave on purpose."""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Option, Protocol, ServeRequest, ServerSpec
from servers.raw_http import serve_command

__all__ = ["SERVER"]

FLAWS = ("none", "dies_at_start", "dies_under_load", "answers_wrongly", "mixes_batches", "never_answers")


def command(request: ServeRequest) -> Command:
    options = request.options
    flags = ("--flaw", str(options["flaw"]), "--delay-ms", str(options["delay_ms"]))
    return serve_command(request, SERVER.folder, flags)


SERVER = ServerSpec(
    name="toy",
    title="A toy",
    folder=Path(__file__).parent,
    distribution="torch",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    options=(
        Option("flaw", "none", "How it misbehaves.", choices=FLAWS),
        Option("delay_ms", 0, "Added to every answer.", minimum=0),
    ),
    ready_timeout_s=20.0,
    start_estimate_s=2.0,
)
