"""The spool keeps every whole line, whatever happens to the process, the disk or the file."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.errors import SpoolError
from db.spool import Spool, preflight, read
from nightbench.errors import UsageError
from nightbench.record import MissingRecord, Record, encode

Night = Callable[..., list[Record]]


def _spool(folder: Path, records: list[Record], run_id: str = "night-1") -> Path:
    with Spool.open(folder, run_id) as spool:
        for record in records:
            spool.append(record)
    return spool.path


def test_reads_back_what_was_appended_also_after_reopening(tmp_path: Path, night: Night) -> None:
    records = night()
    _spool(tmp_path, records[:3])
    path = _spool(tmp_path, records[3:])
    contents = read(path)
    # NaN differs from itself, and this night holds one.
    assert [encode(record) for record in contents.records] == [encode(record) for record in records]
    assert contents.skipped == 0


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, 10**6))
def test_a_torn_last_line_costs_itself_alone(tmp_path_factory: pytest.TempPathFactory, night: Night, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    records = [record for record in night() if isinstance(record, MissingRecord)] * 2
    path = _spool(folder, records)
    whole = path.read_bytes()
    last = len(whole) // 2
    torn = whole[: last + cut % last]
    path.write_bytes(torn)
    _spool(folder, records[:1])
    contents = read(path)
    lost_only_its_newline = torn == whole[:-1]
    line_was_torn = len(torn) > last and not lost_only_its_newline
    assert contents.skipped == line_was_torn
    assert contents.records == (records[0],) * (3 if lost_only_its_newline else 2)


@settings(max_examples=40, deadline=None)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_rotten_bit_never_passes_for_a_record(
    tmp_path_factory: pytest.TempPathFactory, night: Night, position: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("rot")
    records = [record for record in night() if isinstance(record, MissingRecord)] * 3
    path = _spool(folder, records)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    contents = read(path)
    assert all(record == records[0] for record in contents.records)
    assert len(contents.records) >= 1
    assert contents.skipped or len(contents.records) == 3


def test_two_writers_of_one_run_are_refused(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "night-1"), pytest.raises(UsageError, match="written by another process"):
        Spool.open(tmp_path, "night-1")
    Spool.open(tmp_path, "night-1").close()


@pytest.mark.parametrize("run_id", ["", "../night", "a/b", ".hidden", "a\n", "x" * 200])
def test_a_run_id_that_is_no_file_name_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match="run id"):
        Spool.open(tmp_path, run_id)


def test_a_killed_writer_leaves_every_line_it_was_told_is_safe(tmp_path: Path) -> None:
    writer = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from db.spool import Spool
from nightbench.record import RunFinished
with Spool.open(Path(sys.argv[1]), "night-1") as spool:
    for number in range(10**9):
        spool.append(RunFinished("night-1", datetime.now(UTC), "failed", {"measure": number}, "x" * 3000))
        print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", writer, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 20:
                break
        process.send_signal(signal.SIGKILL)
        safe = 1 + max([20, *(int(line) for line in process.stdout if line.endswith("\n"))])
    contents = read(tmp_path / "night-1.jsonl")
    numbers = [record.spent_ns["measure"] for record in contents.records if record.kind == "run_finished"]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= safe
    with Spool.open(tmp_path, "night-1") as spool:
        spool.append(contents.records[0])
    assert len(read(spool.path).records) == len(numbers) + 1


def test_a_disk_that_fills_in_mid_line_costs_no_other_line(tmp_path: Path, night: Night) -> None:
    records = [record for record in night() if isinstance(record, MissingRecord)]
    with Spool.open(tmp_path, "night-1") as spool:
        spool.append(records[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The kernel takes half a line, then refuses: what a full disk does, without needing a disk to fill.
        resource.setrlimit(resource.RLIMIT_FSIZE, (spool.path.stat().st_size + 100, hard))
        try:
            with pytest.raises(SpoolError, match=r"night-1\.jsonl"):
                spool.append(records[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        spool.append(records[0])
    contents = read(spool.path)
    assert (len(contents.records), contents.skipped) == (2, 0)


def test_preflight_leaves_nothing_behind(tmp_path: Path) -> None:
    preflight(tmp_path / "spool", 5_000_000)
    assert list((tmp_path / "spool").iterdir()) == []


def test_preflight_names_path_room_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{tmp_path} has .* MB free .* needs 4611686018427.4 MB; make room"):
        preflight(tmp_path, 1 << 62)


def test_preflight_notices_a_disk_that_lies_about_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=rf"{tmp_path} cannot be written: No space left on device; make room"):
        preflight(tmp_path, 1)


def test_preflight_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        preflight(tmp_path / "spool", 1)


def test_needs_no_database_package() -> None:
    """A bare GPU box has none."""
    code = "import sys, db.spool; sys.exit(any(name in sys.modules for name in ('sqlalchemy', 'alembic', 'psycopg2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
