"""PyTorch called directly, inside the load engine: the floor under every server's figures.

A TorchScript file is frozen: its batch norms are folded into its convolutions. An archive of ``torch.export`` is not;
its operators run one by one, as eager PyTorch runs the model's own code, or are compiled by Inductor. `torch.compile`
of TorchScript is refused: it would run the script as it is, without a word.
"""

from collections.abc import Mapping
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.model import Format, ModelSpec
from nightbench.server import Command, Option, OptionValue, Protocol, ServeRequest, ServerSpec
from servers.raw_http import thread_env

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """The interpreter the load engine runs under, and its thread settings: nothing is started beside it."""
    return Command(argv=(str(request.python),), env=thread_env(request.threads))


_MODES = {"optimize_for_inference": Format.TORCHSCRIPT, "compile": Format.TORCH_EXPORT}
"""The one format of each mode that is not for all."""


def fits(_: ModelSpec, file_format: Format, options: Mapping[str, OptionValue]) -> None:
    """Each way of speeding a model up takes a format of its own."""
    mode = str(options["mode"])
    wanted = _MODES.get(mode, file_format)
    if file_format is not wanted:
        raise UsageError(f"mode {mode!r} is for {wanted}, and this is {file_format}; set 'format: {wanted}'")


SERVER = ServerSpec(
    name="pytorch",
    title="PyTorch in process",
    folder=Path(__file__).parent,
    distribution="torch",
    formats=(Format.TORCHSCRIPT, Format.TORCH_EXPORT),
    protocols={Protocol.IN_PROCESS: ""},
    command=command,
    fits=fits,
    ports=(),
    options=(
        Option(
            "mode",
            default="plain",
            choices=("plain", "optimize_for_inference", "compile"),
            help="How the model is called: as it was exported, which is eager PyTorch for torch-export; "
            "for torchscript after torch.jit.optimize_for_inference, which lays it out for oneDNN; "
            "for torch-export after torch.compile, which takes a C++ compiler and, at every start, minutes.",
        ),
        Option(
            "device",
            default="cpu",
            choices=("cpu", "cuda"),
            help="Where it runs; copying to a GPU and back is part of every call.",
        ),
    ),
    # Compiling a large model on a busy machine takes that long.
    ready_timeout_s=600.0,
    start_estimate_s=3.0,
)
