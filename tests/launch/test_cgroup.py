"""Memory limits: where a cgroup may be made, and what is written into it. The hierarchies are folders of files."""

from pathlib import Path

import pytest

from launch.cgroup import home_of_groups, memory_group


@pytest.fixture
def hierarchy(tmp_path: Path) -> Path:
    """A machine whose root hands memory down to ``user``, where we run in ``user/session``."""
    session = tmp_path / "cgroup" / "user" / "session"
    session.mkdir(parents=True)
    (tmp_path / "cgroup" / "cgroup.controllers").write_text("cpu memory pids\n")
    for folder, handed_down in ((session, ""), (session.parent, "memory pids"), (tmp_path / "cgroup", "memory")):
        (folder / "cgroup.subtree_control").write_text(handed_down + "\n")
        (folder / "memory.max").write_text("max\n")
    (tmp_path / "membership").write_text("4:memory:/elsewhere\n0::/user/session\n")
    return tmp_path


def test_limit_is_written_and_group_removed(hierarchy: Path) -> None:
    root, membership = hierarchy / "cgroup", hierarchy / "membership"
    with memory_group("nightbench-x", 1000, root, membership) as group:
        folder = root / "user" / "nightbench-x"
        group.admit(42)
        assert group.held == "cgroup"
        assert (folder / "memory.max").read_text() == "1000"
        assert (folder / "memory.swap.max").read_text() == "0"
        assert (folder / "cgroup.procs").read_text() == "42"
        for kills in (0, 1):
            (folder / "memory.events").write_text(f"low 0\noom 3\noom_kill {kills}\n")
            assert group.out_of_memory == bool(kills)
        # A real cgroup's files go with it.
        for file in folder.iterdir():
            file.unlink()
        (folder / "cgroup.kill").mkdir()
        (folder / "cgroup.kill").rmdir()
    assert (folder / "cgroup.kill").read_text() == "1"


def test_a_limit_of_ours_is_not_escaped(hierarchy: Path) -> None:
    (hierarchy / "cgroup" / "user" / "session" / "memory.max").write_text("4096\n")
    home, why = home_of_groups(hierarchy / "cgroup", hierarchy / "membership")
    assert home is None
    assert "which a group beside it would escape" in why


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("cgroup/cgroup.controllers", "hugetlb\n", "no cgroup v2 with a memory controller here"),
        ("membership", "0::/\n", "no cgroup above us hands its memory controller down"),
    ],
)
def test_says_why_there_is_none(hierarchy: Path, file: str, content: str, why: str) -> None:
    (hierarchy / file).write_text(content)
    (hierarchy / "cgroup" / "cgroup.subtree_control").write_text("\n")
    with memory_group("nightbench-x", 1000, hierarchy / "cgroup", hierarchy / "membership") as group:
        group.admit(42)
        assert group.held == f"not enforced: {why}"
        assert not group.out_of_memory


def test_a_group_that_cannot_be_made(hierarchy: Path) -> None:
    (hierarchy / "cgroup" / "user" / "nightbench-x").write_text("in the way")
    with memory_group("nightbench-x", 1000, hierarchy / "cgroup", hierarchy / "membership") as group:
        assert group.held.startswith("not enforced: ")
        assert group.held.endswith("could not be made (File exists)")
