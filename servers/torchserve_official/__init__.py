"""PyTorch's own image of TorchServe. Written, not run: no registry here has the image.

Archive, configuration and handler are those of `servers/torchserve`; Java, Python and PyTorch are the image's.
"""

from dataclasses import replace
from pathlib import Path

from nightbench.server import Command, ServeRequest
from servers.official import OFFICIAL
from servers.torchserve import SERVER as TORCHSERVE
from servers.torchserve.layout import packed, serve

__all__ = ["SERVER"]

_PYTHON = Path("/home/venv/bin/python")
_SITE_PACKAGES = Path("/home/venv/lib/python3.9/site-packages")


def command(request: ServeRequest) -> Command:
    """What the container runs."""
    there = replace(request, python=_PYTHON, site_packages=_SITE_PACKAGES)
    return serve(there, "java", packed(there))


SERVER = replace(
    TORCHSERVE,
    name="torchserve-official",
    title="TorchServe (official image)",
    folder=Path(__file__).parent,
    distribution="",
    command=command,
    image=OFFICIAL["torchserve"].ref,
    process=False,
    needs=(),
)
