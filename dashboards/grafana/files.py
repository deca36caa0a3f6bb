"""The committed JSON of the dashboards."""

import json
from pathlib import Path

from dashboards.grafana.compare import compare
from dashboards.grafana.morning import morning
from dashboards.grafana.reliability import reliability
from dashboards.grafana.series import series
from dashboards.grafana.server import server
from dashboards.grafana.trends import trends

__all__ = ["FOLDER", "rendered", "write_all"]

FOLDER = Path(__file__).parent


def rendered() -> dict[str, str]:
    """Each dashboard's JSON by the name of its file."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    houses = [make().build() for make in (morning, trends, series, compare, server, reliability)]
    return {f"{house.uid}.json": json.dumps(house, cls=JSONEncoder, indent=2) + "\n" for house in houses}


def write_all(folder: Path = FOLDER) -> None:
    for name, text in rendered().items():
        (folder / name).write_text(text, encoding="utf-8")
