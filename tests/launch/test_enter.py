"""Secrets reach what a container runs through its environment, whole, and no other way."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from launch.stack.enter import filled

WORDS: SearchStrategy[str] = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@given(word=WORDS)
def test_a_secret_arrives_as_it_was_written(folder: Path, word: str) -> None:
    (folder / "one").write_text(f"{word}\n", encoding="utf-8")
    got = filled({"PLAIN": "{secret:one}", "URL": "postgresql://me:{url:one}@db:5432/x?a=b"}, folder)
    assert got["PLAIN"] == word
    parts = urlsplit(got["URL"])
    assert unquote(parts.password or "") == word
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("db", 5432, "/x", "a=b")


def test_a_secret_that_looks_like_a_place_is_not_filled_again(folder: Path) -> None:
    (folder / "one").write_text("{secret:two}")
    assert filled({"A": "{secret:one}"}, folder) == {"A": "{secret:two}"}


def test_what_names_no_secret_stays(folder: Path) -> None:
    environment = {"PATH": "/bin", "JSON": '{"a": {"b": 1}}', "BRACES": "{} {secret} {other:x} {secret:}"}
    assert filled(environment, folder) == environment


@pytest.mark.parametrize(
    ("written", "said"), [(None, "cannot be read"), ("\n", "is empty"), (b"\xff", "cannot be read")]
)
def test_a_secret_that_is_not_there_is_named(tmp_path: Path, written: str | bytes | None, said: str) -> None:
    if written is not None:
        (tmp_path / "one").write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(ValueError, match=rf"secret one: it {said}.* set it in \.env"):
        filled({"A": "{secret:one}"}, tmp_path)


def test_it_becomes_the_command() -> None:
    command = (sys.executable, "-c", "import os, sys; print(os.getpid(), os.environ['A'], sys.argv[1:])", "x y")
    process = subprocess.Popen(
        (sys.executable, "-m", "launch.stack.enter", *command),
        env={**os.environ, "A": "as it was"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.communicate(timeout=60)[0] == f"{process.pid} as it was ['x y']\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "enter: COMMAND is missing"),
        (("no-such-program",), "enter: no-such-program: No such file"),
        (("true",), "enter: secret nightbench_never: it cannot be read"),
    ],
)
def test_what_cannot_start_is_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    env = dict(os.environ)
    if arguments == ("true",):
        env["A"] = "{secret:nightbench_never}"
    ended = subprocess.run(
        (sys.executable, "-m", "launch.stack.enter", *arguments), env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1
