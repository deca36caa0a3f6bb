"""TorchScript called directly, inside the load engine: the floor under every server's figures."""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Protocol, ServeRequest, ServerSpec
from servers.raw_http import thread_env

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """The interpreter the load engine runs under, and its thread settings: nothing is started beside it."""
    return Command(argv=(str(request.python),), env=thread_env(request.threads))


SERVER = ServerSpec(
    name="pytorch",
    title="PyTorch in process",
    folder=Path(__file__).parent,
    distribution="torch",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.IN_PROCESS: ""},
    command=command,
    ports=(),
    start_estimate_s=3.0,
)
