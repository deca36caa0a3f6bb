"""`nightbench models`: every combination once, in a sound order, and stopped when the user has had enough."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from export import zoo
from flows.model_matrix import Entry, entries, every_export, printed, told
from nightbench.errors import ExportError
from nightbench.model import Artifact, Format, Precision
from nightbench.plan import Export

TINY = zoo.models()["tiny_cnn"]
EVERY = every_export([TINY], Format, Precision)


def test_every_precision_of_every_format_is_listed_once() -> None:
    assert len(set(EVERY)) == len(EVERY) == sum(len(each.precisions) for each in TINY.formats)


def test_the_first_of_a_model_goes_ahead_of_what_is_made_from_it() -> None:
    asked: list[Export] = []

    def look(export: Export, _: Callable[[], bool]) -> Entry:
        asked.append(export)
        return Entry(export)

    assert len(list(entries(EVERY, look, 4))) == len(EVERY)
    assert asked[0] == Export("tiny_cnn", Format.ONNX, Precision.FP32, "random")


def test_a_failure_is_the_row_of_its_own_export_only() -> None:
    def look(export: Export, _: Callable[[], bool]) -> Entry:
        if export.precision is Precision.BF16:
            raise ExportError("no such kernel")
        return Entry(export)

    found = list(entries(EVERY, look, 1))
    assert {each.export.precision for each in found if not each.sound} == {Precision.BF16}
    assert "no such kernel" in {printed(each)["state"] for each in found}


def test_who_stops_listening_does_not_wait_for_the_rest() -> None:
    """Ctrl-C used to wait for every export that was queued."""
    began: list[Export] = []
    stopped = threading.Event()

    def look(export: Export, should_stop: Callable[[], bool]) -> Entry:
        began.append(export)
        while len(began) > 1 and not should_stop():
            pass
        if len(began) > 1:
            stopped.set()
        return Entry(export)

    with closing(entries(EVERY, look, 1)) as coming:
        next(coming)
    assert stopped.wait(20) or len(began) == 1
    assert len(began) <= 2


@pytest.mark.parametrize(("made", "state"), [(False, "not exported"), (True, "not compared")])
def test_what_was_exported_and_not_compared_is_told_apart(made: bool, state: str) -> None:
    export = EVERY[0]
    artifact = Artifact("tiny_cnn", export.format, export.precision, "random", Path("x"), "ab", 2048, {}, 10**9)
    entry = Entry(export, artifact=artifact if made else None)
    assert (told(entry)["state"], printed(entry)["state"]) == (state, state)
    assert ("sha256" in told(entry)) is made
    assert entry.sound
