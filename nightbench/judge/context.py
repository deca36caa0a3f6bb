"""What is different from the last good night, in words: the context of two nights side by side."""

from collections.abc import Mapping

__all__ = ["differences"]

_NO_CAUSE = frozenset({"suite_folder", "traces", "memory_bytes"})
"""Where files lay, what is part of a series' name, and what differs by a few pages from boot to boot."""
_WORDS = {
    "cpu": "processor",
    "cpus": "number of processors",
    "git_sha": "nightbench's commit",
    "gpu": "GPU",
    "gpu_driver": "GPU driver",
    "gpu_visible": "GPUs visible",
    "governor": "frequency governor",
    "lock_sha256": "nightbench's own packages",
    "nightbench": "nightbench",
    "os": "operating system",
    "python": "Python",
}


def differences(
    before: Mapping[str, str],
    tonight: Mapping[str, str],
    versions_before: Mapping[str, str] | None = None,
    versions_tonight: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """By factor, ``6.1.0 -> 6.1.2``: of `nightbench.record.RunStarted.context`, and of servers' versions by server.

    A factor that one of the nights did not write down is left out, since nothing is known of it.
    """
    changed = {
        _WORDS.get(name, name): f"{before[name]} -> {now}"
        for name, now in tonight.items()
        if name not in _NO_CAUSE and before.get(name, now) != now
    }
    was = versions_before or {}
    changed |= {
        f"server {server}": f"{was[server]} -> {version}"
        for server, version in (versions_tonight or {}).items()
        if version and was.get(server, version) not in {"", version}
    }
    return changed
