"""HTML pages that are one file each and need nothing but a browser: no script, font or image from elsewhere."""

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

__all__ = ["as_script", "embed", "policy", "write_whole"]


def embed(value: Any) -> Any:
    """JSON for a ``<script>`` element, of a plotly figure or of plain values.

    In there nothing but ``<`` could end it, so none is left.
    """
    from markupsafe import Markup

    plain = json.loads(value.to_json()) if hasattr(value, "to_json") else value
    text = json.dumps(plain, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - the line above leaves no markup in it


def as_script(source: str) -> Any:
    """Our own code and plotly's, to stand inside ``<script>`` unescaped; it must not hold its end tag."""
    from markupsafe import Markup

    return Markup(source.replace("</script", "<\\/script"))  # noqa: S704 - packaged code, nothing from outside


def policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy under which only these very scripts run and nothing is fetched."""
    hashes = " ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def write_whole(page: str, path: Path) -> Path:
    """Write ``page`` to ``path``, whole or not at all, making its folder where needed. Returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
        try:
            partial.write(page)
            partial.close()
            Path(partial.name).chmod(0o644)
            Path(partial.name).replace(path)
        except BaseException:
            Path(partial.name).unlink(missing_ok=True)
            raise
    return path
