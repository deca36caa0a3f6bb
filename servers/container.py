"""Where things lie in the image of a server, wherever they lie outside (docs/containers.md).

An image holds the server's kit (`servers.kit`) below `ROOT`, as it lies in this folder, and the packages of its
requirement list in a virtual environment. A deployment's working directory and its artifact lie where they lie outside.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from nightbench.server import Command, ServeRequest

__all__ = ["PYTHON", "ROOT", "SITE_PACKAGES", "UID", "inside", "is_inside"]

ROOT = Path("/srv")
"""Stands for the folder that server folders lie in: ``servers/fastapi`` is ``/srv/fastapi``."""
PYTHON = Path("/opt/server/bin/python")
SITE_PACKAGES = Path("/opt/server/lib/python3.11/site-packages")
UID = 10001
"""The user that a server runs as: nobody outside. Its home is ``/home/server``."""


def is_inside(request: ServeRequest) -> bool:
    """Whether the server is to run in its image: what that holds cannot be looked at from here."""
    return request.python == PYTHON


def inside(command: Command, kit: Iterable[Path]) -> Command:
    """``command`` with the paths of an image, where these files and folders lie below `ROOT`.

    A path is found wherever it stands: after ``=``, in a list with colons.
    """
    found = [(re.compile(re.escape(str(path)) + r"(?=$|[/:,;\"'\s])"), str(ROOT / path.name)) for path in kit]

    def said(text: str) -> str:
        for path, there in found:
            text = path.sub(there, text)
        return text

    return Command(tuple(map(said, command.argv)), {name: said(value) for name, value in command.env.items()})
