"""Prefect may show a night and may not end one."""

import pytest

from flows.dressing import Dressing
from tasks.progress import Silent


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


class Server:
    """A Prefect server that is up, or fails before or after what it was asked to run."""

    def __init__(self) -> None:
        self.fails = ""
        self.asked = 0

    def dress(self, body):  # type: ignore[no-untyped-def]  # stands in for decorators that are not typed either
        self.asked += 1
        if self.fails == "before":
            raise ConnectionError
        body()
        if self.fails == "after":
            raise ConnectionError

    def answers(self) -> bool:
        return not self.fails


@pytest.mark.parametrize("fails", ["", "before", "after"])
def test_a_step_runs_once_and_its_result_stands_whatever_prefect_does(fails: str) -> None:
    server, notes, runs = Server(), Notes(), []
    server.fails = fails
    dressing = Dressing(notes, server.answers)
    assert dressing.run(server.dress, lambda: runs.append(1) or "result") == "result"
    assert runs == [1]
    assert len(notes.lines) == bool(fails)


def test_a_lost_server_is_told_once_and_not_waited_for_until_it_is_back() -> None:
    server, notes = Server(), Notes()
    dressing = Dressing(notes, server.answers)
    server.fails = "before"
    for _ in range(3):
        dressing.run(server.dress, lambda: None)
        dressing.attempt(lambda: pytest.fail("asked a server that is gone"))
    assert server.asked == 1
    assert len(notes.lines) == 1
    server.fails = ""
    dressing.run(server.dress, lambda: None)
    assert server.asked == 2


def test_a_step_that_fails_fails_as_itself() -> None:
    server, notes = Server(), Notes()

    def fail() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        Dressing(notes, server.answers).run(server.dress, fail)
    assert notes.lines == []
