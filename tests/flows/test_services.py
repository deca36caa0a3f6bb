"""Whose Prefect server is whose."""

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


def test_another_homes_server_that_takes_the_port_first_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_environment({"NIGHTBENCH_HOME": str(tmp_path)})
    with ThreadingHTTPServer(("127.0.0.1", 0), SomebodysPrefect) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        monkeypatch.setattr(services, "_choose_port", lambda _: other.server_port)
        try:
            with pytest.raises(NightbenchError, match="did not come up"):
                services.prefect_up(settings)
        finally:
            services.stop_prefect(settings)
            other.shutdown()
