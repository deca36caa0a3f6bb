"""A cell is put on record as missing for what it is about itself, never for want of room."""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from db.errors import SpoolError
from nightbench.load import ClosedLoop
from nightbench.model import Format, Precision
from nightbench.plan import Cell, Export, Setup
from nightbench.record import MissingRecord, Record
from nightbench.server import Protocol
from tasks.missing import Why, record_missing
from tasks.progress import Silent
from tasks.session import Session


@dataclass
class Run:
    """As much of a session as a missing cell takes."""

    folder: Path
    run_id: str = "night"
    progress: Silent = field(default_factory=Silent)
    kept: list[Record] = field(default_factory=list)
    check_room = Session.check_room

    @property
    def workdir(self) -> Path:
        return self.folder

    def record(self, *records: Record) -> None:
        self.kept += records


CELL = Cell(
    "c.r1",
    Setup("toy", Export("tiny_cnn", Format.TORCHSCRIPT, Precision.FP32, "random"), ()),
    Protocol.RAW_HTTP,
    1,
    ClosedLoop(1),
)
FULL = f"the artifact cannot be written: {os.strerror(errno.ENOSPC)}"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def missing(run: Run, why: Why, detail: str) -> list[str]:
    record_missing(run, [CELL], why, detail)  # type: ignore[arg-type]  # a stand-in
    return [each.detail for each in run.kept if isinstance(each, MissingRecord)]


@pytest.mark.parametrize("why", ["export_failed", "measuring_failed"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_failed_for_want_of_room_is_left_to_a_resumption(run: Run, why: Why, number: int) -> None:
    with pytest.raises(SpoolError, match=r"make room, and `nightbench run --resume night` does the rest"):
        missing(run, why, f"[Errno {number}] {os.strerror(number)}")
    assert run.kept == []


@pytest.mark.parametrize(
    "disk",
    [
        {"f_bavail": 3, "f_frsize": 4096, "f_files": 10, "f_favail": 10},
        {"f_bavail": 10**6, "f_frsize": 4096, "f_files": 10, "f_favail": 0},
    ],
    ids=["no room", "no more files"],
)
def test_on_a_full_disk_no_failure_is_a_finding(
    run: Run, monkeypatch: pytest.MonkeyPatch, disk: dict[str, int]
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**disk))
    with pytest.raises(SpoolError, match="on a disk that is full"):
        missing(run, "measuring_failed", "the load engine ended with exit code 120")
    assert run.kept == []


def test_a_small_disk_that_has_room_is_none_that_is_full(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(f_bavail=366, f_frsize=4096, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert missing(run, "deployment_failed", "died: exit 1") == ["died: exit 1"]


def test_a_server_whose_own_disk_is_full_costs_its_own_cells_only(run: Run) -> None:
    assert missing(run, "deployment_failed", FULL) == [FULL]
