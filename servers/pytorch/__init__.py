"""TorchScript called directly, inside the load engine: the floor under every server's figures.

Eager execution and `torch.compile` need the model as Python code or as an archive of `torch.export`, which is no
export format here yet. Of a TorchScript file neither can be made: `torch.compile` runs it as it is, without a word,
and its operators one by one would not be the eager model, whose batch norms it has folded away.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Option, Protocol, ServeRequest, ServerSpec
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
    options=(
        Option(
            "mode",
            default="plain",
            choices=("plain", "optimize_for_inference"),
            help="How the model is called: as it was exported, or after torch.jit.optimize_for_inference, "
            "which lays it out for oneDNN.",
        ),
    ),
    start_estimate_s=3.0,
)
