"""Samples and marks as files: what several engines saw becomes one run."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightbench.samples import Marks, Samples, save_merged

COLUMNS = ("intended_ns", "sent_ns", "first_byte_ns", "done_ns", "outcome", "response_bytes")


def samples(intended_ns: list[int]) -> Samples:
    """Rows whose other columns tell them apart."""
    intended = np.array(sorted(intended_ns), np.int64)
    return Samples(intended, intended + 1, intended + 2, intended + 3, (intended % 5).astype(np.uint8), intended * 7)


def marks(of: Samples, rows: list[int]) -> Marks:
    """A mark for each of these rows, which carries its row's time; every row's tokens are told by its time too."""
    row = np.array(sorted(rows), np.int64)
    at = of.intended_ns[row] + 10 if len(row) else np.empty(0, np.int64)
    return Marks(row=row, at_ns=at, parts=at * 3, tokens=of.intended_ns * 11)


PART = st.lists(st.integers(1, 10**6), max_size=30)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PART, min_size=1, max_size=4), data=st.data())
def test_merging_keeps_every_row_and_mark_together(tmp_path: Path, parts: list[list[int]], data: st.DataObject) -> None:
    shares = [samples(part) for part in parts]
    marked = [
        marks(share, data.draw(st.lists(st.integers(0, len(share) - 1), max_size=20)) if len(share) else [])
        for share in shares
    ]
    path = tmp_path / "merged.npz"
    save_merged(path, shares, marked)
    merged, found = Samples.load(path), Marks.load(path)
    assert merged.intended_ns.tolist() == sorted(time for part in parts for time in part)
    whole = samples(merged.intended_ns.tolist())
    for name in COLUMNS:
        assert (getattr(merged, name) == getattr(whole, name)).all()
        assert getattr(merged, name).dtype == getattr(whole, name).dtype
    assert found is not None
    assert sorted(found.at_ns.tolist()) == found.at_ns.tolist()
    assert sorted(found.at_ns.tolist()) == sorted(time for each in marked for time in each.at_ns.tolist())
    assert (found.at_ns == merged.intended_ns[found.row] + 10).all()
    assert (found.parts == found.at_ns * 3).all()
    assert (found.tokens == merged.intended_ns * 11).all()


def test_without_marks_there_are_none(tmp_path: Path) -> None:
    samples([3, 1]).save(tmp_path / "s.npz")
    assert Marks.load(tmp_path / "s.npz") is None
    assert Samples.load(tmp_path / "s.npz").intended_ns.tolist() == [1, 3]


def test_marks_of_answers_without_parts_are_empty_rather_than_absent(tmp_path: Path) -> None:
    given_samples = samples([1, 2])
    given_samples.save(tmp_path / "s.npz", marks(given_samples, []))
    found = Marks.load(tmp_path / "s.npz")
    assert found is not None
    assert len(found.row) == 0
    assert found.tokens.tolist() == [11, 22]


def test_what_cannot_be_written_whole_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    samples([1]).save(path)
    broken = Samples(*[np.array([object()]) for _ in COLUMNS])
    with pytest.raises(ValueError, match="allow_pickle"):
        broken.save(path)
    assert Samples.load(path).intended_ns.tolist() == [1]
