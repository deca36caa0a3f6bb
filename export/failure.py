"""One sentence out of what libraries say when they fail."""

import re

__all__ = ["clean", "last_line", "one_line", "plain"]

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNSTORABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, NUL being one that PostgreSQL refuses, and lone surrogates, which UTF-8 does."""
_LONGEST = 300


def clean(text: str) -> str:
    """The text with a mark in place of what could not be stored or sent."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def plain(text: str) -> str:
    """The text without colours and line breaks, cut to a readable length."""
    words = " ".join(clean(_ANSI.sub("", text)).split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"


def one_line(error: BaseException) -> str:
    """The first line of the error that started it all, which says more than the wrappers around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return plain(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def last_line(log: str) -> str:
    """The last line of a log that says something: not blank, not the quoted source of a warning."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    return plain(lines[-1]) if lines else ""
