"""Which of an engine's images are nightbench's, and what it refuses, in sentences."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

import launch.images
from launch.engine import Engine
from launch.images import Built, built_images, remove_images
from nightbench.errors import DeploymentError
from tests.launch.fake_engine import api_error

HASH = "sha256:" + "a" * 64


def image(*tags: str) -> SimpleNamespace:
    return SimpleNamespace(id=HASH, tags=list(tags), attrs={"Size": 7, "RepoDigests": None})


class Images:
    """Those of an engine; it refuses what it is told to."""

    def __init__(self, *there: SimpleNamespace, refused: Exception | None = None) -> None:
        self.there, self.refused, self.removed = there, refused, list[str]()

    def list(self, **_: object) -> list[SimpleNamespace]:
        if self.refused is not None:
            raise self.refused
        return list(self.there)

    def remove(self, ref: str) -> None:
        if self.refused is not None:
            raise self.refused
        self.removed.append(ref)


def given(monkeypatch: pytest.MonkeyPatch, images: Images) -> None:
    client = cast("Any", SimpleNamespace(images=images, close=lambda: None))
    monkeypatch.setattr(launch.images, "engine", lambda url: Engine(client, url, "28.0"))


def test_a_name_that_somebody_else_gave_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Images(image("registry.corp/kept:1", "nightbench/flask:ab", "nightbenches/x:1"), image()))
    assert [each.ref for each in built_images("unix:///x")] == ["nightbench/flask:ab"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (api_error(403, "Forbidden:\n the proxy"), "the engine does not say which images it has: Forbidden: the proxy"),
        (requests.exceptions.ConnectionError("reset by peer"), "unix:///x"),
    ],
)
def test_an_engine_that_does_not_list_them_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    given(monkeypatch, Images(refused=error))
    with pytest.raises(DeploymentError, match=said):
        built_images("unix:///x")


def test_one_that_is_in_use_is_kept_and_an_engine_that_goes_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    doomed = [Built("nightbench/flask:ab", HASH, 7)]
    given(monkeypatch, Images(refused=api_error(409, "a container\nuses it")))
    assert list(remove_images(doomed, "unix:///x")) == [(doomed[0], "a container uses it")]
    given(monkeypatch, Images(refused=cast("Exception", requests.exceptions.ReadTimeout("read timed out"))))
    with pytest.raises(DeploymentError, match="unix:///x"):
        list(remove_images(doomed, "unix:///x"))
    images = Images()
    given(monkeypatch, images)
    assert list(remove_images(doomed, "unix:///x")) == [(doomed[0], "")]
    assert images.removed == ["nightbench/flask:ab"]
