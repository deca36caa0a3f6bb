"""Last-good against tonight's, deployed for real: what is planted is confirmed, and what is not is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db import spool
from nightbench.judge.verdict import Outcome
from nightbench.record import ConfirmationRecord, DeploymentRecord, KitRecord, MeasurementRecord, TrialRecord
from tasks.ab.bisect import bisect
from tasks.ab.confirm import confirm_all
from tasks.ab.opening import reopened
from tasks.ab.past import Past
from tasks.opening import opened
from tasks.progress import Silent
from tasks.session import Cancelled, Session
from tests.flows.echo import World, world

__all__ = ["world"]

FAST_MS, SLOW_MS = 10, 20


@contextmanager
def tonight(world: World) -> Iterator[Session]:
    request = world.request()
    with opened(request, world.settings, world.catalog) as session:
        yield session


def test_a_slower_package_is_confirmed_and_the_bisection_names_it(world: World) -> None:
    world.write(package_ms=FAST_MS)
    good = world.night()
    kit = next(each for each in world.nights[good] if isinstance(each, KitRecord))
    assert world.measured(good).context["kit"] == kit.kit_sha256
    assert "serve.py" in kit.files

    world.write(package_ms=SLOW_MS, words="# another word\n")
    suspect = world.suspect(good)
    with tonight(world) as session:
        [found] = confirm_all(session, [suspect], world, budget_ns=0)
        spooled = spool.read(session.spool.path).records
        beside = spool.read(session.folder / "ab" / f"{session.run_id}.jsonl").records
        assert "confirm" in session.ledger.spent_ns()
        assert "deploy" not in session.ledger.spent_ns()
    assert found.outcome is Outcome.CONFIRMED, found
    assert set(found.changed) == {"package echowords", "code"}
    assert found.changed["code"] == "serve.py changed"
    assert found.pairs in {4, 6, 8}, "looked at after whole blocks"

    trials = [each for each in spooled if isinstance(each, TrialRecord)]
    assert [each.side for each in trials] == ["good", "tonight", "tonight", "good"] * (found.pairs // 2)
    assert all(suspect.key.metric in each.figures[suspect.key.fingerprint] for each in trials)
    assert [each for each in spooled if isinstance(each, ConfirmationRecord)] == [found]
    assert not any(isinstance(each, MeasurementRecord | DeploymentRecord) for each in spooled), "none of the night's"
    assert sum(isinstance(each, MeasurementRecord) for each in beside) == len(trials)

    bad = world.night()
    with reopened(bad, Past(world), world.settings, world.catalog, Silent()) as session:
        bisection = bisect(session, suspect, Past(world), session.spool.path.stem)
        trials = [each for each in spool.read(session.spool.path).records if isinstance(each, TrialRecord)]
    assert bisection.found.culprits == ("package echowords",), bisection
    assert "the culprit is package echowords" in bisection.said
    assert {each.run_id for each in trials} == {bad}


def test_what_is_the_same_on_both_sides_is_not_confirmed(world: World) -> None:
    world.write(package_ms=FAST_MS)
    good = world.night()
    with tonight(world) as session:
        [found] = confirm_all(session, [world.suspect(good)], world, budget_ns=0)
    assert found.outcome is not Outcome.CONFIRMED
    assert not found.changed
    assert "nothing that can be changed back differs" in found.detail


def test_a_side_that_does_not_come_up_cannot_be_decided(world: World) -> None:
    world.write(package_ms=FAST_MS)
    good = world.night()
    world.write(package_ms=FAST_MS, words="raise SystemExit('never')\n")
    text = (world.home / "servers/echo/serve.py").read_text()
    (world.home / "servers/echo/serve.py").write_text("raise SystemExit('it was planted')\n" + text)
    with tonight(world) as session:
        [found] = confirm_all(session, [world.suspect(good)], world, budget_ns=0)
    assert found.outcome is Outcome.UNCONFIRMABLE
    assert "'tonight' did not come up" in found.detail
    assert "it was planted" in found.detail


def test_code_that_does_not_fit_what_calls_it_leaves_its_own_series_undecided(world: World) -> None:
    world.write(package_ms=FAST_MS)
    spec, flag = world.home / "servers" / "echo" / "__init__.py", world.home / "flag"
    flag.touch()
    text = spec.read_text()
    checking = f"def check(options):\n    open({str(flag)!r}).close()\n\n\nSERVER = ServerSpec(\n    check=check,"
    spec.write_text(text.replace("SERVER = ServerSpec(", checking))
    good = world.night()
    suspect = world.suspect(good)
    spec.write_text(text)
    flag.unlink()
    with tonight(world) as session:
        [found] = confirm_all(session, [suspect], world, budget_ns=0)
    assert found.outcome is Outcome.UNCONFIRMABLE
    assert "echo of that night: FileNotFoundError" in found.detail


def test_a_trial_that_goes_wrong_is_no_figure_and_leaves_nothing_running(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object) -> None:
        assert [each for each in _commands() if str(world.home) in each], "it is deployed by now"
        raise KeyError("p50")

    world.write(package_ms=FAST_MS)
    good = world.night()
    suspect = world.suspect(good)
    monkeypatch.setattr("tasks.ab.trial.measure", measure)
    with tonight(world) as session:
        [found] = confirm_all(session, [suspect], world, budget_ns=0)
    assert (found.outcome, found.pairs) == (Outcome.UNCONFIRMABLE, 0)
    assert "KeyError: 'p50'" in found.detail
    assert not [each for each in _commands() if str(world.home) in each]


def test_a_run_that_is_stopped_leaves_nothing_running(world: World) -> None:
    world.write(package_ms=FAST_MS)
    good = world.night()
    suspect = world.suspect(good)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 20

    with (
        pytest.raises(Cancelled),
        opened(world.request(), world.settings, world.catalog, should_stop=stop) as session,
    ):
        confirm_all(session, [suspect], world, budget_ns=0)
    assert not [each for each in _commands() if str(world.home) in each]


def _commands() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "serve.py" in text:
            yield text
