"""A real Postgres for the whole session, and for each test a database of its own with the tables in it."""

import shutil
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from db import embedded
from db.engine import open_engine
from db.migrate import migrate
from db.store import Store
from nightbench.figures import Estimate, Series
from nightbench.load import ClosedLoop, Load, OpenLoop
from nightbench.model import Format, Precision
from nightbench.record import (
    ArtifactRecord,
    CalibrationRecord,
    Case,
    DeploymentRecord,
    MeasurementRecord,
    MissingRecord,
    ParityRecord,
    Record,
    RunFinished,
    RunStarted,
)
from nightbench.server import Protocol

DAWN = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
SHA = sha256(b"resnet50").hexdigest()


@pytest.fixture(scope="session")
def postgres_home() -> Iterator[Path]:
    # Reachable by the system user Postgres runs as under root; pytest's own folders are not.
    home = Path(tempfile.mkdtemp(prefix="nightbench-db-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        embedded.stop(home)
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def new_database(postgres_home: Path) -> Callable[[str], str]:
    """Makes an empty database, or a copy of ``template``; returns its URL."""
    admin = embedded.start(postgres_home)
    numbers = count()
    with open_engine(admin, pooled=False, autocommit=True).connect() as connection:
        # These tests end the server, never the machine: waiting for the disk would prove nothing.
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))

    def create(template: str = "template1") -> str:
        name = f"test_{next(numbers)}"
        engine = open_engine(admin, pooled=False, autocommit=True)
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return make_url(admin).set(database=name).render_as_string(hide_password=False)

    return create


@pytest.fixture(scope="session")
def template(new_database: Callable[..., str]) -> str:
    url = new_database()
    migrate(url)
    return str(make_url(url).database)


@pytest.fixture
def url(new_database: Callable[..., str], template: str) -> str:
    return new_database(template)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url) as opened:
        yield opened


FOUR = ClosedLoop(4)


def case(*, batch: int = 1, load: Load = FOUR) -> Case:
    return Case(
        model="resnet50",
        model_version=1,
        artifact_sha256=SHA,
        format=Format.ONNX,
        precision=Precision.FP32,
        server="onnxruntime",
        options={"batching": True, "queue": 64, "delay_us": 0.5, "mode": "fast"},
        protocol=Protocol.RAW_HTTP,
        batch=batch,
        load=load,
        threads=1,
        hardware="2 cpus",
        version=1,
    )


def measurement(run_id: str, cell_id: str, **changes: object) -> MeasurementRecord:
    figures = {f"p{p}": Estimate(p * 1e6, p * 0.9e6, p * 1.1e6) for p in (50, 90, 95)} | {"p99": Estimate(9.9e7)}
    fields: dict[str, object] = {
        "round": 0,
        "deployment_id": "d0",
        "case": case(),
        "started_at": DAWN + timedelta(minutes=3),
        "warmup_ns": 10**9,
        "measured_ns": 10**10,
        "counts": {"ok": 900, "timeout": 3, "http_5xx": 1},
        "offered_rps": None,
        "throughput_rps": Estimate(90.0, 88.5, 91.25),
        "latency_ns": figures,
        "service_ns": figures,
        "lag_ns": {"p50": 0.0, "p99": 12345.5},
        "histogram": b64encode(bytes(range(256)) * 4).decode(),
        "client_cpu_ns_per_request": 7200.5,
        "telemetry": (
            Series("server", "cpu_percent", tuple(range(0, 10_000, 200)), tuple(i / 3 for i in range(50))),
            Series("client", "rss_bytes", (0, 500), (1e8, 1.1e8)),
        ),
        "context": {"kernel": "6.1", "governor": "performance"},
        "doubts": (),
    }
    return MeasurementRecord(run_id=run_id, cell_id=cell_id, **(fields | changes))


@pytest.fixture(name="measurement")
def measurement_fixture() -> Callable[..., MeasurementRecord]:
    """Makes a plausible measurement; keyword arguments change fields."""
    return measurement


@pytest.fixture(scope="session")
def night() -> Callable[..., list[Record]]:
    """Records of a whole night: every kind of record, failures included."""
    return make_night


def make_night(run_id: str = "night-1", cells: int = 2, started_at: datetime = DAWN) -> list[Record]:
    options = dict(case().options)
    first = [
        RunStarted(run_id, "smoke", 7, started_at, "2 cpus", {"git": "abc"}, "name: smoke\n", cells + 1),
        ArtifactRecord(
            run_id, "resnet50", 1, Format.ONNX, Precision.FP32, "random", SHA, 10**8, 3 * 10**9, False, {"o": "1"}, True
        ),
        ArtifactRecord(
            run_id, "bert", 1, Format.ONNX, Precision.FP32, "random", None, None, None, False, {}, True, "no such op"
        ),
        ParityRecord(
            run_id, "resnet50", Format.ONNX, Precision.FP32, SHA, "logits", 4, float("nan"), float("inf"), 1, 0.5, False
        ),
        DeploymentRecord(
            *(run_id, "d0", 0, "onnxruntime", "1.31", "ab12", "resnet50", Format.ONNX, Precision.FP32, options),
            *(started_at, 10**9, 10**8, 10**8, {"cpus": "affinity"}, "logs/d0.log"),
        ),
        DeploymentRecord(
            *(run_id, "d1", 1, "triton", "2.51", "cd34", "resnet50", Format.ONNX, Precision.FP32, {}),
            *(started_at, None, None, None, {}, "logs/d1.log", "died", "exit 139", "malloc(): unaligned\nlast line"),
        ),
    ]
    figure = Estimate(5e4, 4.9e4, 5.2e4)
    first.append(
        CalibrationRecord(
            *(run_id, 1, Protocol.RAW_HTTP, "resnet50", 1, 602_112, 4_000, started_at, figure),
            *({"p50": figure, "p99.9": figure}, 9_000.5),
        )
    )
    timed = [measurement(run_id, f"c{number}", case=case(batch=1 + number)) for number in range(cells)]
    rest = [
        MissingRecord(
            *(run_id, "gone", 1, "triton", "resnet50", Format.ONNX, Precision.FP32, {}, Protocol.KSERVE_GRPC, 1),
            *(OpenLoop(50.0), "deployment_failed", "died: exit 139"),
        ),
        RunFinished(run_id, started_at + timedelta(hours=1), "completed", {"deploy": 5, "ours": 1}),
    ]
    return [*first, *timed, *rest]
