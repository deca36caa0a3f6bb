"""`nightbench images` says which images there are to be, with an engine and without."""

import json
from pathlib import Path

import pytest

from flows.commands.images import images
from launch.images import Built, built_tag
from nightbench.errors import DeploymentError, UsageError
from servers import discover

COMMAND = "flows.commands.images"


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setenv("NIGHTBENCH_HOME", str(tmp_path))


def test_without_an_engine_it_still_says_which_there_would_be(capsys: pytest.CaptureFixture[str]) -> None:
    images()
    said = " ".join(capsys.readouterr().out.split())
    assert "no Docker engine answers" in said
    assert "nvcr.io/nvidia/tritonserver" in said
    assert "digest not set" in said


def test_json_has_every_server_but_those_without_a_container(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flask = built_tag(discover()["flask"], "python:3.11-slim")
    monkeypatch.setattr(f"{COMMAND}.available", lambda: None)
    monkeypatch.setattr(f"{COMMAND}.built_images", lambda *_: [Built(flask, "sha256:ab", 7), Built("old:1", "", 1)])
    images(json=True)
    found = json.loads(capsys.readouterr().out)["images"]
    assert {each["server"] for each in found} == {name for name, spec in discover().items() if not spec.in_process}
    here = {each["server"]: each for each in found if each["size_bytes"] is not None}
    assert here.keys() == {"flask"}
    assert (here["flask"]["image"], here["flask"]["digest"]) == (flask, "sha256:ab")


@pytest.mark.parametrize("name", ["flask", "nim"])
def test_a_name_is_printed_for_use_in_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    images(name=name)
    spec = discover()[name]
    assert capsys.readouterr().out == f"{spec.image or built_tag(spec, 'python:3.11-slim')}\n"


def test_it_removes_what_no_present_list_names_and_says_why_one_stays(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flask = built_tag(discover()["flask"], "python:3.11-slim")
    there = [Built(flask, "", 1), Built("nightbench/flask:1", "", 1 << 20), Built("nightbench/flask:2", "", 1)]
    monkeypatch.setattr(f"{COMMAND}.built_images", lambda *_: there)
    asked: list[str] = []

    def remove(doomed: list[Built], _: str) -> list[tuple[Built, str]]:
        asked.extend(each.ref for each in doomed)
        return [(doomed[0], ""), (doomed[1], "a container runs from it")]

    monkeypatch.setattr(f"{COMMAND}.remove_images", remove)
    images(prune=True)
    assert asked == ["nightbench/flask:1", "nightbench/flask:2"]
    said = capsys.readouterr().out
    assert "removed nightbench/flask:1, 1.00 MiB" in said
    assert "kept nightbench/flask:2: a container runs from it" in said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"build": ("flsk",)}, "'flsk' is no server that runs in a container; did you mean 'flask'"),
        ({"build": ("pytorch",)}, "'pytorch' is no server that runs in a container"),
        ({"name": "flsk"}, "--name: 'flsk' is no server"),
        ({"bump": "tritn"}, "'tritn' is no official image; did you mean 'triton'"),
        ({"tag": "1"}, "--tag: goes with --bump only"),
        ({"bump": "triton", "prune": True}, "choose one"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(given: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        images(**given)  # type: ignore[arg-type]  # a test names what it gives
    assert told in str(caught.value)


@pytest.mark.parametrize("given", [{"build": ("flask",)}, {"bump": "triton"}, {"prune": True}])
def test_what_needs_an_engine_says_so(given: dict[str, object]) -> None:
    with pytest.raises(DeploymentError, match="no Docker engine answers"):
        images(**given)  # type: ignore[arg-type]
