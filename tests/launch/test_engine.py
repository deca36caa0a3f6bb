"""Whether an engine answers, and its refusals in sentences."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from launch.engine import available, engine, engine_url, refusal
from nightbench.errors import DeploymentError
from tests.launch.fake_engine import api_error


def test_no_socket_is_told_with_what_to_do(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/docker.sock"
    with pytest.raises(DeploymentError) as caught:
        engine(url)
    assert caught.value.kind == "no_engine"
    assert caught.value.detail == available(url)
    for part in (url, "systemctl start docker", "DOCKER_HOST", "launcher: process"):
        assert part in caught.value.detail


def test_a_socket_nobody_listens_on_is_no_engine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{tmp_path}/docker.sock")
    assert "no Docker engine answers" in str(available(f"unix://{tmp_path}/docker.sock"))


def test_a_socket_we_may_not_open_names_the_group(tmp_path: Path) -> None:
    code = (
        "import os, sys; from launch.engine import available; available('unix:///nowhere')\n"
        "os.getuid() or os.setuid(10001); print(available(sys.argv[1]))"
    )
    folder = Path("/tmp") if os.getuid() == 0 else tmp_path  # noqa: S108  (pytest's own are closed to other users)
    address = folder / f"nightbench-test-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(address))
        closed.listen()
        address.chmod(0o000 if os.getuid() else 0o600)
        try:
            said = subprocess.run(
                (sys.executable, "-c", code, f"unix://{address}"), capture_output=True, text=True, check=True
            ).stdout
        finally:
            address.unlink()
    assert "may not open" in said
    assert "usermod -aG docker" in said


def test_what_answers_and_is_no_engine_is_said_to_be_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/docker.sock")
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        threading.Thread(target=serve, daemon=True).start()
        said = available(f"unix://{tmp_path}/docker.sock")
    assert said is not None
    assert "cannot be used" in said


def test_an_address_that_is_none_is_a_sentence() -> None:
    said = available("tcp://:port")
    assert said is not None
    assert "tcp://:port" in said


def test_the_environment_names_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    assert engine_url() == "unix:///run/user/1000/docker.sock"
    monkeypatch.delenv("DOCKER_HOST")
    assert engine_url() == "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (404, "No such image: nb/toy:1", "no_image"),
        (500, "manifest unknown", "no_image"),
        (404, "pull access denied for toy, repository does not exist", "no_image"),
        (500, "dial tcp: lookup registry-1.docker.io: no such host", "no_image"),
        (500, 'could not select device driver "" with capabilities: [[gpu]]', "no_gpu"),
        (500, "nvidia-container-cli: initialization error: load library failed", "no_gpu"),
        (500, "mkdir /x: no space left on device", "no_disk"),
        (500, "something new", "died"),
    ],
)
def test_refusals_are_told_apart_by_their_words(status: int, words: str, kind: str) -> None:
    error = refusal(api_error(status, words), image="nb/toy:1")
    assert error.kind == kind
    assert words in error.detail
    assert "\n" not in error.detail


@pytest.mark.parametrize("error", [requests.exceptions.ConnectionError("reset"), requests.exceptions.ReadTimeout("60")])
def test_an_engine_that_stopped_answering_is_no_engine(error: Exception) -> None:
    assert refusal(error, url="unix:///x.sock").kind == "no_engine"
