"""A real Postgres holding the nights of `tests.dashboards.grafana_nights`, and what a reader has chosen."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection

from dashboards.grafana.expand import Window
from db import embedded
from db.engine import open_engine
from db.migrate import migrate
from db.store import Store
from tests.dashboards.grafana_frames import Values
from tests.dashboards.grafana_nights import DEVICE, FIRST, LAST, MODEL, NIGHTS, SLOWER, SUITE, fill, run_id

__all__ = ["CHOSEN", "WINDOW", "filled_postgres"]

WINDOW = Window(FIRST - timedelta(days=1), LAST + timedelta(days=1))
CHOSEN: Values = {
    "suite": SUITE,
    "device": [DEVICE],
    "server": ["onnxruntime", "triton", "fastapi"],
    "model": [MODEL, "bert_base"],
    "fingerprint": SLOWER.fingerprint,
    "metric": "throughput_rps",
    "run": run_id(NIGHTS - 1),
    "canary": "matrix_product",
    "price": "2.5",
}


@contextmanager
def filled_postgres() -> Iterator[Connection]:
    """A connection to a database of its own, gone afterwards."""
    # Reachable by the system user Postgres runs as under root; pytest's own folders are not.
    home = Path(tempfile.mkdtemp(prefix="nightbench-grafana-"))
    home.chmod(0o755)
    try:
        url = embedded.start(home)
        migrate(url)
        with Store(url) as store:
            fill(store)
        engine = open_engine(url, pooled=False)
        with engine.connect() as connection:
            yield connection
    finally:
        embedded.stop(home)
        shutil.rmtree(home)
