"""Whose Prefect server is whose."""

import itertools
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows import services
from nightbench.errors import NightbenchError
from nightbench.settings import Settings


class SomebodysPrefect(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another home's server answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SomebodysPrefect) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        try:
            yield other.server_port
        finally:
            other.shutdown()


def test_another_homes_server_that_takes_the_port_first_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    settings = Settings.from_environment({"NIGHTBENCH_HOME": str(tmp_path)})
    monkeypatch.setattr(services, "_choose_port", lambda _: taken)
    monkeypatch.setattr(services, "START_ATTEMPTS", 1)
    try:
        with pytest.raises(NightbenchError, match="did not come up"):
            services.prefect_up(settings)
    finally:
        services.stop_prefect(settings)


# A service outlives the command that starts it, so nobody waits for its process.
@pytest.mark.filterwarnings("ignore:subprocess \\d+ is still running:ResourceWarning")
def test_a_server_whose_port_went_to_another_home_comes_up_on_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    settings = Settings.from_environment({"NIGHTBENCH_HOME": str(tmp_path)})
    usual = services._choose_port
    chosen = itertools.chain([taken], iter(lambda: usual(None), None))
    monkeypatch.setattr(services, "_choose_port", lambda _: next(chosen))
    try:
        server = services.prefect_up(settings)
        assert server.port != taken
        assert services.answers(server.api_url)
    finally:
        services.stop_prefect(settings)
