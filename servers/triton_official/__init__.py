"""NVIDIA's own image of Triton, with its native backends. Written, not run: no registry here has the image.

Repository and settings are those of `servers/triton`, whose Python backend stands in for the native ones. A release
needs the driver of its month, or a newer one (NVIDIA's support matrix).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.model import Format
from nightbench.server import Command, Option, OptionValue, ServeRequest
from servers.official import OFFICIAL
from servers.raw_http import thread_env
from servers.triton import SERVER as TRITON
from servers.triton.config import check_options
from servers.triton.layout import control, server_flags
from servers.triton.repository import check_signature, lay_out, placed, version_of

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """What the container runs."""
    check_signature(request.model, request.artifact)
    models = placed(
        request.model,
        request.artifact.format,
        request.options,
        threads=request.threads,
        version=version_of(request.artifact.sha256),
        gpu=request.options["device"] == "cuda",
    )
    repository = request.workdir / "models"
    lay_out(repository, models, request.artifact, lambda source, target: target.symlink_to(source))
    return Command(
        argv=("tritonserver", "--model-repository", str(repository), *control(request), *server_flags(request)),
        env=thread_env(request.threads),
    )


def check(options: Mapping[str, OptionValue]) -> None:
    """As Triton's; and no step of our own before the model, for the image has no backend for it."""
    check_options(options)
    if options["ensemble"]:
        raise UsageError("option ensemble of server triton-official: its first step is a backend of ours; take triton")


SERVER = replace(
    TRITON,
    name="triton-official",
    title="Triton (official image)",
    folder=Path(__file__).parent,
    distribution="",
    formats=(Format.ONNX, Format.TORCHSCRIPT, Format.STAGES),
    command=command,
    check=check,
    image=OFFICIAL["triton"].ref,
    options=(
        *TRITON.options,
        Option("device", default="cpu", choices=("cpu", "cuda"), help="Where the model runs."),
    ),
    process=False,
)
