"""The entry of nightbench's own containers: ``python -m launch.stack.enter COMMAND...``.

Secrets come as files, so that neither a command line nor ``docker inspect`` shows them. What only reads its
environment gets them there: a variable may say ``{secret:NAME}``, or ``{url:NAME}`` inside a URL, and becomes whole for
the command alone. Standard library only: nothing else need be there to say what is missing.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

__all__ = ["SECRETS", "filled", "main"]

SECRETS = Path("/run/secrets")
"""Where Compose puts them."""

_PLACE = re.compile(r"\{(secret|url):([a-z0-9_]+)\}")


def filled(environment: Mapping[str, str], secrets: Path = SECRETS) -> dict[str, str]:
    """``environment`` with each named secret in its place.

    Raises `ValueError`, in one sentence that names the secret and never shows one, if it is absent or empty.
    """
    return {name: _PLACE.sub(lambda found: _secret(found, secrets), value) for name, value in environment.items()}


def _secret(found: re.Match[str], secrets: Path) -> str:
    form, name = found.groups()
    try:
        # An editor's last newline is no part of a password.
        text = (secrets / name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"secret {name}: it cannot be read ({type(error).__name__}); set it in .env") from None
    if not text:
        raise ValueError(f"secret {name}: it is empty; set it in .env")
    return quote(text, safe="") if form == "url" else text


def main() -> None:
    """Become the command, with its environment made whole."""
    command = sys.argv[1:]
    if not command:
        sys.exit("enter: COMMAND is missing")
    try:
        environment = filled(os.environ)
    except ValueError as error:
        sys.exit(f"enter: {error}")
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  (no shell: it becomes the command)
    except OSError as error:
        sys.exit(f"enter: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
