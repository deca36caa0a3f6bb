"""vLLM's own image, for GPUs. Written, not run: it needs a GPU and an image.

The command is that of `servers/vllm`, without what is for CPUs alone.
"""

from dataclasses import replace
from pathlib import Path

from nightbench.server import Command, ServeRequest
from servers.official import OFFICIAL
from servers.vllm import SERVER as VLLM

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """What the container runs."""
    told = VLLM.command(replace(request, python=Path("python3")))
    return Command(told.argv, {name: value for name, value in told.env.items() if not name.startswith("VLLM_CPU_")})


SERVER = replace(
    VLLM,
    name="vllm-official",
    title="vLLM (official image)",
    folder=Path(__file__).parent,
    distribution="",
    command=command,
    image=OFFICIAL["vllm"].ref,
    process=False,
    needs=("gpu",),
)
