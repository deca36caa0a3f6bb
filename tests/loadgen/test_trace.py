"""Recorded arrivals: what is read, and what is said about a file that cannot be."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.trace import read_trace, trace_of
from nightbench.errors import UsageError


def _file(folder: Path, text: str) -> Path:
    path = folder / "arrivals.txt"
    path.write_text(text)
    return path


def test_seconds_a_line_with_comments(tmp_path: Path) -> None:
    path = _file(tmp_path, "# recorded on Monday\n0.5\n\n 1.25  # a burst\n1.25\n2e0\n")
    assert read_trace(path).tolist() == [0.5, 1.25, 1.25, 2.0]


def test_the_lines_of_a_mooncake_trace(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        '{"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
        '{"timestamp": 105, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}\n'
        '{"timestamp": 3000.5, "messages": [{"role": "user", "content": "#1"}]}\n',
    )
    assert read_trace(path).tolist() == [0.0, 0.105, 3.0005]


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=50).map(sorted).filter(lambda values: values[0] < values[-1]))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = _file(tmp_path_factory.mktemp("trace"), "\n".join(map(repr, values)))
    assert np.array_equal(read_trace(path), values)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("trace") / "bytes"
    path.write_bytes(content)
    with contextlib.suppress(UsageError):
        found = read_trace(path)
        assert len(found) >= 2
        assert np.isfinite(found).all()
        assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\nsoon\n", "line 2: 'soon' is neither"),
        ("0\n-1\n", "line 2: '-1' is neither"),
        ("0\nnan\n", "line 2: 'nan' is neither"),
        ("0\n1e999\n", "line 2: '1e999' is neither"),
        ('0\n{"timestamp": "5"}\n', "line 2"),
        ('0\n{"timestamp": true}\n', "line 2"),
        ('0\n{"time": 5}\n', "line 2"),
        ('{"timestamp": 1' + "0" * 400 + "}\n", "line 1"),
        ('{"timestamp": ' + "[" * 100_000 + "\n", "line 1"),
        ("1\n# later\n0.5\n", "line 3: '0.5' is earlier than the line before"),
        ("3\n", "has 1 arrivals and needs at least two"),
        ("3\n3\n", "at different times"),
        ("", "has 0 arrivals"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_trace(path)
    assert str(raised.value).startswith(f"trace {path}")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < len(str(path)) + 250


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_trace(path)


def test_what_never_ends_or_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**26 + 1)
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path / "large"):
        with pytest.raises(UsageError, match=f"trace {path}: cannot be read: give a file of at most 67108864 bytes"):
            read_trace(path)


def test_a_trace_is_known_by_its_content(tmp_path: Path) -> None:
    path = _file(tmp_path, "0\n1\n")
    trace = trace_of(path)
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    assert trace_of(copy).sha256 == trace.sha256
    assert read_trace(trace).tolist() == [0.0, 1.0]
    path.write_text("0\n2\n")
    with pytest.raises(UsageError, match="has changed"):
        read_trace(trace)


def test_only_a_readable_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 1"):
        trace_of(_file(tmp_path, "now\n"))
