"""`nightbench api-keys` and `nightbench api`, as they are started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from typing import Any

import httpx
import pytest

from api.problems import Unavailable
from db import embedded
from flows import trigger
from flows.commands import api as command
from flows.commands.api import api, services_for
from flows.commands.api_keys import api_keys
from nightbench.access import Role
from nightbench.errors import NightbenchError, UsageError
from nightbench.settings import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    yield folder
    embedded.stop(folder)


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("NIGHTBENCH_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NIGHTBENCH_HOME", str(home))


def test_a_key_is_printed_once_and_can_be_revoked_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    api_keys("add", "grafana")
    said = capsys.readouterr()
    secret = said.out.strip()
    assert secret.startswith("nb_")
    assert "viewer key 'grafana'" in said.err
    api_keys()
    listed = capsys.readouterr().out
    assert "grafana" in listed
    assert secret not in listed
    api_keys("revoke", "grafana")
    assert "opens nothing any more" in capsys.readouterr().out
    with pytest.raises(UsageError, match="'grafana': there is none"):
        api_keys("revoke", "grafana")


@pytest.mark.parametrize(
    ("arguments", "role", "words"),
    [
        (("list", "x"), None, "list: lists all keys; leave the name out"),
        (("add",), None, "add: which key"),
        (("revoke", "x"), Role.ADMIN, "--role: does not go with revoke"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: tuple[Any, ...], role: Role | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        api_keys(*arguments, role=role)


def test_a_bind_that_others_reach_takes_tls() -> None:
    with pytest.raises(UsageError, match="--host: '::' is open to others"):
        api(host="::")


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, range(0)),
        ({"NIGHTBENCH_SERVER_PORTS": "20000-20099"}, range(20000, 20100)),
        (
            {"NIGHTBENCH_SERVER_PORTS": "20000-20099", "NIGHTBENCH_API_INFERENCE_PORTS": "9000-9000"},
            range(9000, 9001),
        ),
    ],
)
def test_operators_ask_the_ports_of_inference_servers(home: Path, given: dict[str, str], ports: range) -> None:
    services = services_for(Settings.from_environment({"NIGHTBENCH_HOME": str(home), **given}), 8080)
    services.store.close()
    assert services.inference_ports == ports


@pytest.mark.parametrize(
    ("error", "expected"),
    [(NightbenchError("Prefect: it may have made the run"), Unavailable), (UsageError("no deployment"), UsageError)],
)
def test_only_what_was_refused_is_said_to_be(
    home: Path, error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(command, "answers", lambda _: True)
    monkeypatch.setattr(command, "configure", lambda *_: None)
    monkeypatch.setattr(trigger, "start_run", fails)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    services = services_for(Settings.from_environment({"NIGHTBENCH_HOME": str(home)}), 8080)
    services.store.close()
    with pytest.raises(NightbenchError, match=str(error)) as caught:
        services.start_run("smoke", {}, None)
    assert type(caught.value) is expected


def test_the_api_starts_answers_and_ends_when_told(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    api_keys("add", "ops", role=Role.OPERATOR)
    headers = {"Authorization": f"Bearer {capfd.readouterr().out.strip()}"}
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = f"import sys; sys.argv = ['nightbench']; from flows.commands.api import api; api(port={port})"
    log = home / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", start], stdout=output, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=30) as client:
            status = _first_answer(client, process)
            assert (status["orchestrator"], status["newest"]) == ("down", [])
            refused = client.post("/api/v1/benchmark", json={"suite": "smoke"})
            assert (refused.status_code, "`nightbench up` starts one" in refused.text) == (503, True)
            assert client.post("/api/v1/keys", json={"name": "x", "role": "admin"}).status_code == 403
            names = {model["name"] for model in client.get("/api/v1/models").json()["items"]}
            assert {"resnet50", "bert_base"} <= names
            assert "nightbench_database_up 1.0" in client.get("/metrics").text
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    written = log.read_text()
    assert f"http://127.0.0.1:{port}/docs" in written
    assert "POST /api/v1/benchmark 503" in written
    assert "Traceback" not in written
    assert headers["Authorization"].split()[1] not in written


def _first_answer(client: httpx.Client, process: "subprocess.Popen[bytes]") -> dict[str, object]:
    """Once it listens."""
    while True:
        try:
            answer = client.get("/api/v1/status")
        except httpx.ConnectError:
            assert process.poll() is None, "it ended"
            continue
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found
