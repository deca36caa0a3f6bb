"""What a server says of itself is read as from a stranger."""

import os
from pathlib import Path

import pytest

from launch.serving import load_time_ns


@pytest.mark.parametrize(
    ("text", "told"),
    [("42", 42), (" 7\n", 7), ("", None), ("soon", None), ("-1", None), ("9" * 19, None), ("1" * 5000, None)],
)
def test_a_loading_time_is_a_plain_number_that_fits(tmp_path: Path, text: str, told: int | None) -> None:
    path = tmp_path / "load_time_ns"
    assert load_time_ns(path) is None
    path.write_text(text)
    assert load_time_ns(path) == told


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert load_time_ns(tmp_path / "pipe") is None


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("42")
    (tmp_path / "link").symlink_to("number")
    assert load_time_ns(tmp_path / "link") is None
