"""The stack's files keep their promises, and `nightbench up --compose` says where things are."""

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.compose import ROOT, SECRETS, addresses, bring_up, check_settings, services, write_settings
from nightbench.errors import NightbenchError, UsageError
from nightbench.settings import Settings

FILES = ("docker-compose.yml", "docker-compose.worker.yml", "docker-compose.gpu.yml", "launch/stack/services.yml")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
NAMES = re.findall(r"^([A-Z][A-Z0-9_]*)=", EXAMPLE, flags=re.MULTILINE)


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")))


def _services() -> dict[str, dict[str, Any]]:
    """What is started, each with what it extends."""
    return {name: _whole("docker-compose.yml", name) for name in _read("docker-compose.yml")["services"]}


def _whole(file: str, name: str) -> dict[str, Any]:
    own = dict(_read(file)["services"][name])
    base = own.pop("extends", None)
    return {**_whole(base.get("file", file), base["service"]), **own} if base else own


def test_every_setting_is_in_the_example_once_and_every_example_is_a_setting() -> None:
    used: set[str] = {"COMPOSE_FILE"}
    for name in FILES:
        text = (ROOT / name).read_text(encoding="utf-8")
        used |= set(re.findall(r"\$\{([A-Z0-9_]+)", text))
        used |= set(re.findall(r"\{environment: ([A-Z0-9_]+)\}", text))
    assert set(NAMES) == used
    assert len(NAMES) == len(set(NAMES))


def test_every_image_has_a_tag_and_room_for_a_digest() -> None:
    images = [service["image"] for service in _services().values() if "image" in service]
    for image in images:
        if "NIGHTBENCH_IMAGE" not in image:  # built here
            assert re.fullmatch(r"\$\{(\w+)_IMAGE:-[\w./-]+:\d[\w.-]+\}\$\{\1_DIGEST:-\}", image)
    assert len(images) == 6


def test_nothing_listens_beyond_loopback_unless_told() -> None:
    ports = [port for service in _services().values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("${NIGHTBENCH_BIND:-127.0.0.1}:") for port in ports)
    assert "NIGHTBENCH_BIND=127.0.0.1\n" in EXAMPLE


def test_secrets_are_files_and_never_settings_of_a_container() -> None:
    for name in FILES:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not [secret for secret in SECRETS if "${" + secret in text]
    declared = _read("docker-compose.yml")["secrets"]
    assert {each["environment"] for each in declared.values() if "environment" in each} == set(SECRETS)
    for name, service in _services().items():
        for secret in service.get("secrets", ()):
            assert secret in declared, name


def test_all_is_started_again_but_the_one_shot() -> None:
    policies = {name: service["restart"] for name, service in _services().items()}
    assert policies.pop("migrate") == "no"
    assert set(policies.values()) == {"unless-stopped"}


def test_nobody_starts_before_what_it_needs_is_well() -> None:
    needs = {
        name: {each: how["condition"] for each, how in service["depends_on"].items()}
        for name, service in _read("docker-compose.yml")["services"].items()
        if "depends_on" in service
    }
    assert needs == {
        "migrate": {"postgres": "service_healthy"},
        "prefect": {"postgres": "service_healthy"},
        "grafana": {"migrate": "service_completed_successfully"},
        "worker": {
            "migrate": "service_completed_successfully",
            "prefect": "service_healthy",
            "docker-proxy": "service_healthy",
        },
    }
    checked = {name for name, service in _services().items() if "healthcheck" in service}
    assert checked == {"postgres", "prefect", "docker-proxy", "grafana"}


def test_only_the_proxy_holds_the_engines_socket() -> None:
    holders = {name for name, service in _services().items() if "/var/run/docker.sock" in json.dumps(service)}
    assert holders == {"docker-proxy"}
    assert _services()["docker-proxy"]["network_mode"] == "none"


def test_what_the_proxy_refuses_is_not_asked_for() -> None:
    worker = _read("launch/stack/services.yml")["services"]["worker"]
    assert worker["environment"]["NIGHTBENCH_SHARED_MEMORY"] == "no"
    assert Settings.from_environment({"NIGHTBENCH_SHARED_MEMORY": "no"}).shared_memory is False


def test_the_proxy_is_of_a_release_that_lets_builds_through() -> None:
    """HAProxy drops `Upgrade: h2c` from 3.0.6 on, and in all later branches."""
    image = _services()["docker-proxy"]["image"]
    found = re.search(r":-haproxy:(\d+)\.(\d+)\.(\d+)-", image)
    assert found is not None
    assert tuple(map(int, found.groups())) < (3, 0, 6)
    assert f"HAPROXY_IMAGE={image.partition(':-')[2].partition('}')[0]}\n" in EXAMPLE


def test_grafana_is_told_of_a_role_that_only_reads() -> None:
    (source,) = _read("dashboards/provisioning/datasources/nightbench.yml")["datasources"]
    assert (source["uid"], source["user"]) == ("nightbench", "nightbench_reader")
    assert source["secureJsonData"] == {"password": "$__file{/run/secrets/reader_password}"}
    (provider,) = _read("dashboards/provisioning/dashboards/nightbench.yml")["providers"]
    assert f"./dashboards/grafana:{provider['options']['path']}:ro" in _services()["grafana"]["volumes"]


# --- .env ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    return tmp_path


def _settings(root: Path) -> Settings:
    return Settings.from_environment({"NIGHTBENCH_HOME": str(root / "home"), "NIGHTBENCH_CACHE": str(root / "cache")})


def test_the_settings_written_are_whole_random_and_their_owners_alone(root: Path) -> None:
    path = write_settings(root, _settings(root))
    assert path == root / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    check_settings(root, {})
    said = dict(line.split("=", 1) for line in path.read_text().splitlines() if line and line[0] != "#")
    assert list(said) == NAMES
    assert len({said[name] for name in SECRETS}) == len(SECRETS)
    assert all(len(said[name]) >= 32 for name in SECRETS)
    for name in ("NIGHTBENCH_HOME", "NIGHTBENCH_CACHE"):
        assert Path(said[name]).stat().st_uid == int(said["NIGHTBENCH_UID"]) != 0


def test_settings_that_are_there_are_left_alone(root: Path) -> None:
    (root / ".env").write_text("mine")
    assert write_settings(root, _settings(root)) is None
    assert (root / ".env").read_text() == "mine"


def _written(root: Path, change: Callable[[str], str]) -> None:
    write_settings(root, _settings(root))
    path = root / ".env"
    path.write_text(change(path.read_text()))


def test_no_settings_are_a_sentence(root: Path) -> None:
    with pytest.raises(UsageError, match=r"\.env: it is missing; copy \.env\.example"):
        check_settings(root, {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("GRAFANA_PASSWORD=", r"GRAFANA_PASSWORD must not be empty; set each to a long random word"),
        ("POSTGRES_PASSWORD=''", r"POSTGRES_PASSWORD must not be empty"),
        ("PREFECT_AUTH=secret-word", r"PREFECT_AUTH is not of the form user:password"),
        ("NIGHTBENCH_HOME=relative", r"NIGHTBENCH_HOME: 'relative' is not a plain absolute path"),
        ("NIGHTBENCH_CACHE=/a b", r"NIGHTBENCH_CACHE: '/a b' is not a plain absolute path"),
        ("NIGHTBENCH_CACHE=/a:/b", r"NIGHTBENCH_CACHE: '/a:/b' is not a plain absolute path"),
        ("NIGHTBENCH_HOME=/", r"NIGHTBENCH_HOME: '/' is not a plain absolute path"),
        ("NIGHTBENCH_HOME=/srv/home/", r"NIGHTBENCH_HOME: '/srv/home/' is not .* no '/' at its end"),
        ("NIGHTBENCH_HOME=/srv//home", r"NIGHTBENCH_HOME: '/srv//home' is not a plain absolute path"),
        ("NIGHTBENCH_CACHE=/srv/../etc", r"NIGHTBENCH_CACHE: '/srv/../etc' is not a plain absolute path"),
        ("NIGHTBENCH_CACHE=/srv/.", r"NIGHTBENCH_CACHE: '/srv/.' is not a plain absolute path"),
        ("NIGHTBENCH_TMP=/", r"NIGHTBENCH_TMP: '/' is not a plain absolute path"),
        ("NIGHTBENCH_TMP=tmp", r"NIGHTBENCH_TMP: 'tmp' is not a plain absolute path"),
    ],
)
def test_a_bad_setting_is_a_sentence_without_the_secret(root: Path, line: str, said: str) -> None:
    name = line.partition("=")[0]
    _written(root, lambda text: re.sub(rf"^{name}=.*$", line, text, flags=re.MULTILINE))
    with pytest.raises(UsageError, match=said) as failed:
        check_settings(root, {})
    assert "secret-word" not in str(failed.value)


@pytest.mark.parametrize(
    "line",
    [
        "NIGHTBENCH_TMP=",
        "NIGHTBENCH_TMP=/var/tmp",
        "NIGHTBENCH_HOME=/home/me/.local/share/n.b",
        "NIGHTBENCH_CACHE=/a/..b",
    ],
)
def test_a_plain_folder_is_let_be(root: Path, line: str) -> None:
    name = line.partition("=")[0]
    _written(root, lambda text: re.sub(rf"^{name}=.*$", line, text, flags=re.MULTILINE))
    check_settings(root, {})


def test_the_shells_environment_goes_first_as_for_compose(root: Path) -> None:
    _written(root, lambda text: re.sub(r"^GRAFANA_PASSWORD=.*$", "GRAFANA_PASSWORD=", text, flags=re.MULTILINE))
    check_settings(root, {"GRAFANA_PASSWORD": "given"})


# --- docker compose -----------------------------------------------------------------------------------------------


def _entry(service: str, state: str = "running", health: str = "healthy", code: int = 0, *ports: int) -> dict[str, Any]:
    published = [{"URL": url, "TargetPort": 1, "PublishedPort": port} for port in ports for url in ("127.0.0.1", "::1")]
    unpublished = {"URL": "", "TargetPort": 9, "PublishedPort": 0}
    return {
        "Service": service,
        "State": state,
        "Health": health,
        "ExitCode": code,
        "Publishers": [*published, unpublished],
    }


UP = [
    _entry("postgres", "running", "healthy", 0, 5432),
    _entry("migrate", "exited", "", 0),
    _entry("prefect", "running", "healthy", 0, 4200),
    _entry("docker-proxy"),
    _entry("worker", "running", ""),
    _entry("grafana", "running", "healthy", 0, 3000),
]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a `docker` on PATH that answers for Compose."""

    def install(entries: list[dict[str, Any]], *, compose: int = 0, up: int = 0, lines: bool = True) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        answer = "\n".join(map(json.dumps, entries)) if lines else json.dumps(entries)
        (folder / "ps.json").write_text(answer)
        (folder / "docker").write_text(
            f'#!/bin/sh\ncase "$2" in version) exit {compose} ;; up) exit {up} ;; ps) cat "{folder}/ps.json" ;; esac\n'
        )
        (folder / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.mark.parametrize("lines", [True, False], ids=["compose 2.21 and later", "before"])
def test_the_addresses_are_those_that_are_published(tmp_path: Path, docker: Callable[..., None], lines: bool) -> None:
    docker(UP, lines=lines)
    bring_up(tmp_path)
    assert addresses(services(tmp_path)) == [
        "Prefect:  http://127.0.0.1:4200 (sign in with PREFECT_AUTH of .env)",
        "Grafana:  http://127.0.0.1:3000 (user admin, GRAFANA_PASSWORD of .env)",
        "Postgres: 127.0.0.1:5432/nightbench (user nightbench, NIGHTBENCH_DATABASE_PASSWORD of .env)",
        "docker-proxy: healthy",
        "migrate:  done",
        "worker:   running",
    ]


def test_what_is_not_started_is_said(tmp_path: Path, docker: Callable[..., None]) -> None:
    docker([_entry("worker", "running", "")])
    assert addresses(services(tmp_path))[:3] == [
        "Prefect:  not started",
        "Grafana:  not started",
        "Postgres: not started",
    ]


@pytest.mark.parametrize(
    "ill",
    [
        _entry("prefect", "running", "unhealthy"),
        _entry("migrate", "exited", "", 2),
        _entry("worker", "restarting", ""),
    ],
)
def test_what_does_not_come_up_is_named(tmp_path: Path, docker: Callable[..., None], ill: dict[str, Any]) -> None:
    docker([*(each for each in UP if each["Service"] != ill["Service"]), ill], up=1)
    name = ill["Service"]
    with pytest.raises(NightbenchError, match=rf"\({name}\); `docker compose logs {name}` says why") as failed:
        bring_up(tmp_path)
    assert failed.value.exit_code == 1


def test_a_docker_without_compose_is_a_sentence(tmp_path: Path, docker: Callable[..., None]) -> None:
    docker(UP, compose=1)
    with pytest.raises(UsageError, match="docker has no `compose`; install the Compose plugin"):
        bring_up(tmp_path)


def test_no_docker_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="docker is not installed; install Docker Engine"):
        bring_up(tmp_path)
