"""Folders for temporary files that nobody else on this machine sees, so that what is left in them is the server's."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from launch.workdir import SHARED_MEMORY

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000


def apart(places: Iterable[Path], needed: Iterable[Path], folder: Path) -> bool:
    """Give this process and all it starts ``places`` of their own (mount_namespaces(7)); whether that could be done.

    They are empty folders below ``folder``, and memory for shared memory. A place that holds any of ``needed`` stays as
    it is. Only root may do this; call it before there are threads.
    """
    needed = [path.resolve() for path in needed]
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(_CLONE_NEWNS) != 0:
        return False
    made = libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) == 0
    for place in places:
        if place == SHARED_MEMORY:
            made &= libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, None) == 0
        elif not any(path.is_relative_to(place.resolve()) for path in needed):
            own = folder / "-".join(place.parts[1:])
            own.mkdir()
            own.chmod(0o1777)
            made &= libc.mount(bytes(own), bytes(place), None, _MS_BIND, None) == 0
    return made
