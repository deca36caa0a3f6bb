"""Another release of an official image is written where images are named, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest

import servers.official
from launch.bump import bump, rewritten
from nightbench.errors import UsageError
from servers.official import OFFICIAL

TEXT = Path(servers.official.__file__).read_text(encoding="utf-8")
DIGEST = "sha256:" + "5a" * 32


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_each_can_be_renewed_and_renewed_again_and_the_others_stay(name: str) -> None:
    before = OFFICIAL[name]
    after = replace(before, tag="99.1", digest=DIGEST)
    text = rewritten(TEXT, name, before, after)
    space: dict[str, dict[str, object]] = {}
    exec(compile(text, "official.py", "exec"), {"__name__": "servers.official"}, space)  # noqa: S102
    found = space["OFFICIAL"]
    assert {key: (each.tag, each.digest) for key, each in found.items() if key == name} == {name: ("99.1", DIGEST)}  # type: ignore[attr-defined]
    assert [key for key, each in found.items() if each.digest != OFFICIAL[key].digest] == [name]  # type: ignore[attr-defined]
    assert rewritten(text, name, after, before) == TEXT


def test_what_does_not_stand_there_is_not_written_over() -> None:
    before = replace(OFFICIAL["triton"], tag="1.0")
    with pytest.raises(UsageError, match="change it by hand"):
        rewritten(TEXT, "triton", before, replace(before, digest=DIGEST))


def test_an_unknown_image_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="'tritn' is no official image; did you mean 'triton'"):
        bump("tritn", None, "unix:///nowhere")
