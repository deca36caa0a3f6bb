"""The real app over a real Postgres with a night in it, and keys of every role."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url, text

from api.app import create_app
from api.services import Limits, Services
from db import embedded
from db.api_store import ApiStore
from db.engine import open_engine
from db.migrate import migrate
from export import zoo
from nightbench.access import Actor, Role
from nightbench.catalog import Catalog
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.alert import AlertKind, Finding
from nightbench.judge.series import Metric, NightPoint, SeriesKey
from nightbench.server import ServerSpec
from servers import discover
from tests.db.conftest import DAWN, case, make_night

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
OWNER = Actor("tests")


@pytest.fixture(scope="session")
def postgres_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="nightbench-api-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        embedded.stop(home)
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def template(postgres_home: Path) -> str:
    """The URL of a database that holds one night."""
    url = embedded.start(postgres_home)
    migrate(url)
    with ApiStore(url) as store:
        store.ingest(make_night())
        key = SeriesKey("smoke", case().fingerprint, Metric.THROUGHPUT_RPS)
        store.put_points("night-1", [NightPoint(key, Estimate(90.0, 88.0, 92.0))])
        found = Finding(AlertKind.FAILED_SERVER, "triton", "triton did not come up", "exit 139")
        store.raise_alerts("smoke", "night-1", [found], NOW)
    return url


@pytest.fixture
def url(template: str) -> Iterator[str]:
    """A copy of it for one test."""
    name = "copy"
    admin = make_url(template).set(database="postgres").render_as_string(hide_password=False)
    engine = open_engine(admin, pooled=False, autocommit=True)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {make_url(template).database}"))
    try:
        yield make_url(template).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@dataclass
class Starter:
    """Stands for Prefect: remembers what was started."""

    started: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    """Of each request, also of those that started nothing again."""
    fails: Exception | None = None

    def __call__(self, suite: str, parameters: Mapping[str, object], idempotency_key: str | None = None) -> str:
        if self.fails is not None:
            raise self.fails
        if suite not in {"smoke", "nightly"}:
            raise UsageError(f"suite {suite!r}: has no deployment; known: nightly, smoke")
        self.keys.append(idempotency_key)
        if idempotency_key is None or self.keys.count(idempotency_key) == 1:
            self.started.append((suite, dict(parameters)))
            return f"flow-{len(self.started)}"
        return f"flow-{list(dict.fromkeys(self.keys)).index(idempotency_key) + 1}"


@dataclass(frozen=True)
class Site:
    """One app and all that it works on."""

    client: TestClient
    store: ApiStore
    starter: Starter
    services: Services
    keys: Mapping[Role, str]

    def ask(
        self, path: str, role: Role | None = Role.ADMIN, method: str = "GET", json: object = None
    ) -> tuple[int, dict[str, object]]:
        """Status and body."""
        headers = {"Authorization": f"Bearer {self.keys[role]}"} if role else {}
        answer = self.client.request(method, path, headers=headers, json=json)
        return answer.status_code, answer.json()


MANY = Limits(of_key="1000000/second", of_address="1000000/second", wrong_keys="1000000/second", body_bytes=1 << 20)
NewSite = Callable[..., Site]


@pytest.fixture(scope="session")
def servers() -> Mapping[str, ServerSpec]:
    return discover(())


@pytest.fixture
def new_site(url: str, tmp_path: Path, servers: Mapping[str, ServerSpec]) -> Iterator[NewSite]:
    """Makes an app with limits of its own."""
    stores: list[ApiStore] = []

    def make(limits: Limits = MANY, ports: tuple[int, int] = (1, 65536)) -> Site:
        store, starter = ApiStore(url), Starter()
        stores.append(store)
        services = Services(
            store=store,
            catalog=Catalog(zoo.models(), servers),
            start_run=starter,
            orchestrator_answers=lambda: True,
            spool=tmp_path / "spool",
            live=tmp_path / "live",
            own_ports=lambda: frozenset({4200}),
            inference_ports=range(*ports),
        )
        (tmp_path / "spool").mkdir(exist_ok=True)
        keys = {role: store.add_key(f"a-{role}", role, OWNER, NOW)[1] for role in Role}
        client = TestClient(create_app(services, limits), raise_server_exceptions=False)
        return Site(client, store, starter, services, keys)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def site(new_site: NewSite) -> Site:
    return new_site()


__all__ = ["DAWN", "MANY", "NOW", "OWNER", "NewSite", "Site", "UsageError"]
