"""Containers or processes: settled from the suite and what answers, in sentences."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from db.errors import DatabaseDown
from launch.engine import Engine
from launch.images import Image
from nightbench.errors import DeploymentError, UsageError
from nightbench.model import Format
from nightbench.server import Command, Launcher, Protocol, ServerSpec
from nightbench.suite import Suite, parse_suite
from tasks import launching
from tasks.launching import contained, context_of, engine_as_begun, engine_for, image_environment, other_way
from tasks.session import Session

ENGINE = Engine(cast("Any", None), "unix:///fake.sock", "28.0")
SUITE = """
name: s
launcher: {launcher}
sweeps: [{{models: [m], servers: [v], loads: [{{closed: 1}}]}}]
"""


def suite(launcher: Launcher) -> Suite:
    return parse_suite(SUITE.format(launcher=launcher), "s.yaml")


def spec(folder: Path, **changes: object) -> ServerSpec:
    known = ServerSpec("v", "V", folder, "v", (Format.ONNX,), {Protocol.RAW_HTTP: "http"}, lambda _: Command(()))
    return replace(known, **changes)  # type: ignore[arg-type]  # fields by name


def session(launcher: Launcher, engine: Engine | None, folder: Path) -> Session:
    made = SimpleNamespace(
        suite=suite(launcher),
        engine=engine,
        folder=folder,
        progress=SimpleNamespace(doing=lambda _: None),
        settings=SimpleNamespace(image_base="python:3.11-slim"),
        should_stop=lambda: False,
    )
    return cast("Session", made)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Engines that were swept of what killed runs left."""
    swept: list[Engine] = []
    monkeypatch.setattr(launching, "available", lambda: None)
    monkeypatch.setattr(launching, "engine", lambda: ENGINE)
    monkeypatch.setattr(launching, "reap_containers", swept.append)
    return swept


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(("launcher", "found"), [("auto", ENGINE), ("docker", ENGINE), ("process", None)])
def test_docker_is_taken_where_an_engine_answers(launcher: Launcher, found: Engine | None) -> None:
    assert engine_for(suite(Launcher(launcher)), "s.yaml") is found


def test_what_killed_runs_left_there_goes_first(answering: list[Engine]) -> None:
    engine_for(suite(Launcher.AUTO), "s.yaml")
    assert answering == [ENGINE]


def test_without_an_engine_auto_means_processes_and_docker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Engine:
        raise DeploymentError("no_engine", "no Docker engine answers at unix:///x")

    monkeypatch.setattr(launching, "available", lambda: "no Docker engine answers at unix:///x")
    monkeypatch.setattr(launching, "engine", none)
    assert engine_for(suite(Launcher.AUTO), "s.yaml") is None
    with pytest.raises(UsageError, match=r"^s\.yaml: launcher: docker: no Docker engine answers"):
        engine_for(suite(Launcher.DOCKER), "s.yaml")


def test_what_auto_chose_is_told(monkeypatch: pytest.MonkeyPatch, answering: list[Engine]) -> None:
    told: list[str] = []
    for launcher in Launcher:
        engine_for(suite(launcher), "s.yaml", told.append)
    assert len(answering) == 2
    monkeypatch.setattr(launching, "available", lambda: "no Docker engine answers at unix:///x")
    engine_for(suite(Launcher.AUTO), "s.yaml", told.append)
    assert told == ["servers run in containers", "servers run as processes: no Docker engine answers at unix:///x"]


def test_a_run_goes_on_as_it_was_begun(monkeypatch: pytest.MonkeyPatch, answering: list[Engine]) -> None:
    assert engine_as_begun("r1", containers=False) is None
    assert answering == []
    assert engine_as_begun("r1", containers=True) is ENGINE
    assert answering == [ENGINE]

    def none() -> Engine:
        raise DeploymentError("no_engine", "no Docker engine answers at unix:///x")

    monkeypatch.setattr(launching, "engine", none)
    with pytest.raises(UsageError, match=r"^run 'r1': was begun in containers, and no Docker engine answers"):
        engine_as_begun("r1", containers=True)


@pytest.mark.parametrize(
    ("was", "found", "said"),
    [
        ({}, None, ""),
        ({}, ENGINE, "run r0 had its servers as processes; tonight's series are others"),
        ({"docker_engine": "27"}, ENGINE, ""),
        ({"docker_engine": "27"}, None, "run r0 had its servers in containers; tonight's series are others"),
    ],
)
def test_a_night_that_starts_its_servers_in_another_way_than_the_last_says_so(
    was: dict[str, str], found: Engine | None, said: str
) -> None:
    nights = [("elsewhere", "Xeon", 9), ("empty", "EPYC", 0), ("r0", "EPYC", 3), ("r00", "EPYC", 3)]
    store = SimpleNamespace(
        history=lambda suite: [SimpleNamespace(run_id=r, hardware=h, measured=n) for r, h, n in nights],
        run_started=lambda run_id: SimpleNamespace(run_id=run_id, context=was),
    )
    assert other_way(cast("Any", store), "s", "EPYC", found).startswith(said)
    assert bool(other_way(cast("Any", store), "s", "EPYC", found)) is bool(said)
    assert other_way(cast("Any", store), "s", "Ryzen", found) == ""


def test_a_database_that_is_away_keeps_no_night_from_beginning() -> None:
    def away(**_: object) -> None:
        raise DatabaseDown("the database does not answer")

    assert other_way(cast("Any", SimpleNamespace(history=away)), "s", "EPYC", None) == ""


def test_the_context_names_an_engine_only_where_there_is_one() -> None:
    assert context_of(None) == {}
    assert context_of(ENGINE) == {"docker_engine": "28.0"}


def test_who_is_started_in_a_container(tmp_path: Path) -> None:
    auto, docker = (session(each, ENGINE, tmp_path) for each in (Launcher.AUTO, Launcher.DOCKER))
    without = spec(tmp_path)
    assert not contained(auto, without)
    assert contained(docker, without)
    assert contained(auto, spec(tmp_path, image="official/v:1@sha256:0"))
    assert not contained(docker, spec(tmp_path, protocols={Protocol.IN_PROCESS: ""}))
    assert not contained(session(Launcher.PROCESS, None, tmp_path), spec(tmp_path, image="official/v:1"))
    (tmp_path / "Dockerfile").touch()
    assert contained(auto, without)


def test_an_earlier_image_is_taken_where_it_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"sha256:old"}
    monkeypatch.setattr(launching, "has_image", lambda _, image: image in there)
    monkeypatch.setattr(launching, "ensure_image", lambda *_, **__: Image("nb/v:1", "sha256:" + "e" * 64, built=True))
    (tmp_path / "requirements.txt").write_text("v==1.2\n")
    here = session(Launcher.DOCKER, ENGINE, tmp_path)
    old = image_environment(here, ENGINE, spec(tmp_path), "sha256:old")
    assert (old.image, old.image_digest, old.built) == ("sha256:old", "sha256:old", False)
    new = image_environment(here, ENGINE, spec(tmp_path), "sha256:gone")
    assert (new.image, new.fingerprint, new.version, new.built) == ("nb/v:1", "e" * 12, "1.2", True)


def test_an_official_image_s_version_is_its_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "registry:5000/v/server:24.10-py3@sha256:" + "d" * 64
    monkeypatch.setattr(launching, "ensure_image", lambda *_, **__: Image(name, "sha256:" + "d" * 64, built=False))
    made = image_environment(session(Launcher.DOCKER, ENGINE, tmp_path), ENGINE, spec(tmp_path, image=name))
    assert (made.version, made.image_digest) == ("24.10-py3", "sha256:" + "d" * 64)
