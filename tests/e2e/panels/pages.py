"""What a page shows: a dashboard, with the rows that its queries return for one reader's choices."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from dashboards.grafana.expand import Panel, expanded, panels
from dashboards.grafana.files import FOLDER
from tests.dashboards.grafana_frames import Values, frames_of, rows_of
from tests.dashboards.grafana_store import CHOSEN, WINDOW

__all__ = ["dashboards", "page"]

_WORDS = re.compile(r"\$\{(\w+)(?::text)?\}")


def dashboards() -> list[str]:
    return sorted({panel.dashboard for panel in panels()})


def page(connection: Connection, name: str, theme: str, choices: Values, words: Mapping[str, str]) -> dict[str, Any]:
    """The dashboard ``name`` as the script draws it; ``words`` are what the choices are called in titles."""
    board = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    values = {**CHOSEN, **choices}
    return {
        "theme": theme,
        "from": round(WINDOW.start.timestamp() * 1000),
        "to": round(WINDOW.end.timestamp() * 1000),
        "notes": list(_notes(connection, board, values)),
        "rows": [{"title": row["title"], "y": row["gridPos"]["y"]} for row in board["panels"] if row["type"] == "row"],
        "panels": [_shown(connection, panel, values, words) for panel in panels() if panel.dashboard == name],
    }


def write(path: Path, content: Mapping[str, Any], script: Path) -> None:
    """A page that draws itself from ``script``, beside which it must lie."""
    text = json.dumps(content).replace("<", "\\u003c")
    path.write_text(
        '<!doctype html><meta charset="utf-8"><title></title>'
        f'<link rel="stylesheet" href="{script.with_suffix(".css").as_uri()}"><body style="margin:0">'
        '<div id="board"></div>'
        f'<script type="application/json" id="page">{text}</script><script src="{script.as_uri()}"></script>',
        encoding="utf-8",
    )


def _shown(connection: Connection, panel: Panel, values: Values, words: Mapping[str, str]) -> dict[str, Any]:
    frames = frames_of(connection, panel, WINDOW, values)
    return {
        "panel": panel.json,
        "title": _WORDS.sub(lambda found: words[found[1]], panel.title),
        "frames": [{"refId": frame.letter, "fields": [asdict(field) for field in frame.fields]} for frame in frames],
    }


def _notes(connection: Connection, board: Mapping[str, Any], values: Values) -> Iterator[dict[str, Any]]:
    for each in board["annotations"]["list"]:
        columns = {
            field.name: field for field in rows_of(connection, expanded(each["target"]["rawSql"], WINDOW, values))
        }
        for time, text in zip(columns["time"].values, columns["text"].values, strict=True):
            yield {"time": time, "text": text, "colour": each["iconColor"]}
