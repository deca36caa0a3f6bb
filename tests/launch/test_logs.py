"""Log tails fit into a record."""

from pathlib import Path

from launch.logs import log_tail


def test_last_lines_without_colours_and_blanks(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n\n\x1b[1;31mtwo\x1b[0m\x00\n  three \xff\r\nbar 10%\rbar 100%\n")
    assert log_tail(log, lines=4) == "two\n  three �\nbar 10%\nbar 100%"
    assert log_tail(log, lines=1) == "bar 100%"


def test_a_huge_log_is_not_read_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(10 * 1024**3)
        file.seek(0, 2)
        file.write(b"\nthe end\n")
    assert log_tail(log) == "the end"


def test_no_log_is_an_empty_tail(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "none") == ""
