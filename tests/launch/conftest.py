"""What the tests of launching share."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where a test's servers keep their files; their working directories must be gone in the end."""
    yield tmp_path
    assert list((tmp_path / "workdirs").glob("*")) == []
