"""The order of a night: a step that fails costs its own cells and nothing else."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.night import Steps, run_night, run_replicate
from launch.environment import Environment
from nightbench.errors import DeploymentError
from nightbench.ledger import Ledger
from nightbench.load import ClosedLoop
from nightbench.model import Artifact, Format, InputPool, Precision
from nightbench.plan import Cell, Export, Plan, Replicate, Setup, expand
from nightbench.server import Deployment, Protocol
from tasks.export import Exported, Unusable
from tasks.judge import Judged
from tasks.missing import Why
from tasks.subject import Subject

GOOD, BROKEN = (Export(name, Format.ONNX, Precision.FP32, "random") for name in ("good", "broken"))
ENVIRONMENT = Environment(Path("python"), Path("site"), "hash", "1.0", built=False, build_ns=0)


class Diary:
    """Steps that do nothing but write down that they were asked."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.missing: dict[str, str] = {}
        self.judged: Judged | None = None

    def environment(self, server: str) -> Environment | DeploymentError:
        self.lines.append(f"environment {server}")
        return ENVIRONMENT

    def export(self, exports: Collection[Export]) -> Mapping[Export, Exported | Unusable]:
        return {export: self._export(export) for export in exports}

    def _export(self, export: Export) -> Exported | Unusable:
        self.lines.append(f"export {export.model}")
        if export is BROKEN:
            return Unusable(parity=True, detail="other numbers")
        artifact = Artifact("good", Format.ONNX, Precision.FP32, "random", Path("a"), "sha", 1)
        return Exported(artifact, InputPool("good", "random", 1, Path("p"), "sha"))

    @contextmanager
    def deployed(
        self, replicate: Replicate, exported: Exported, environment: Environment | DeploymentError
    ) -> Iterator[Deployment | DeploymentError]:
        server = replicate.setup.server
        if server == "dead":
            yield DeploymentError("died", "exited with code 1")
            return
        self.lines.append(f"up {server}")
        try:
            yield Deployment(server, {}, 1, 0, None, None, "1.0", "hash", Path("log"))
        finally:
            self.lines.append(f"down {server}")

    def check(self, subject: Subject) -> None:
        self.lines.append(f"check {subject.deployment.server}")

    def measure(self, subject: Subject, cell: Cell) -> None:
        self.lines.append(f"measure {cell.setup.server}")

    def leave_out(self, cells: tuple[Cell, ...], why: Why, detail: str) -> None:
        self.missing |= {cell.cell_id: f"{why}: {detail}" for cell in cells}

    def judge(self) -> Judged | None:
        self.lines.append("judge")
        return self.judged

    def note(self, line: str) -> Path:
        self.lines.append(line)
        return Path(line)

    def steps(self) -> Steps:
        def benchmark(replicate: Replicate, exported: Exported, environment: Environment | DeploymentError) -> None:
            run_replicate(steps, replicate, exported, environment)

        steps = Steps(
            environment=self.environment,
            export=self.export,
            benchmark=benchmark,
            deployed=self.deployed,
            calibrate=lambda exports: self.lines.append(f"calibrate {' '.join(export.model for export in exports)}"),
            canary=lambda number: self.lines.append(f"canary {number}"),
            check=self.check,
            measure=self.measure,
            missing=self.leave_out,
            store=lambda: self.note("store"),
            gate=lambda: self.note("gate"),
            judge=self.judge,
            notify=lambda judged: self.note(f"notify {judged.run_id}"),
            finish=lambda: self.lines.append("finish"),
            report=lambda: self.note("report"),
            ledger=Ledger(),
        )
        return steps


def plan(*setups: tuple[str, Export], rounds: int = 1) -> Plan:
    points = [(Protocol.RAW_HTTP, 1, ClosedLoop(1)), (Protocol.RAW_HTTP, 1, ClosedLoop(2))]
    return expand({Setup(server, export, ()): points for server, export in setups}, rounds, seed=3)


def test_a_server_is_taken_down_before_the_next_comes_up_and_results_are_stored_between() -> None:
    diary = Diary()
    run_night(plan(("a", GOOD), ("b", GOOD)), diary.steps())
    assert diary.lines[2:3] == ["export good"]
    first, second = (line.removeprefix("up ") for line in diary.lines if line.startswith("up "))
    assert {first, second} == {"a", "b"}
    assert diary.lines[3:] == [
        *("calibrate good", "canary 1"),
        *(f"up {first}", f"check {first}", f"measure {first}", f"measure {first}", f"down {first}", "store"),
        *(f"up {second}", f"check {second}", f"measure {second}", f"measure {second}", f"down {second}", "store"),
        *("gate", "store", "judge", "finish", "report", "store"),
    ]


def test_people_are_told_last_of_all_and_only_of_a_night_that_could_be_judged() -> None:
    silent, told = Diary(), Diary()
    told.judged = Judged("tonight", {})
    for diary in (silent, told):
        run_night(plan(("a", GOOD)), diary.steps())
    assert silent.lines[-1] == "store"
    assert told.lines[-2:] == ["store", "notify tonight"]


def test_the_machine_is_looked_at_before_each_round() -> None:
    diary = Diary()
    run_night(plan(("a", GOOD), ("b", GOOD), rounds=2), diary.steps())
    marks = [line for line in diary.lines if line.startswith(("canary", "up"))]
    assert [line.partition(" ")[0] for line in marks] == ["canary", "up", "up"] * 2
    assert [line for line in marks if line.startswith("canary")] == ["canary 1", "canary 2"]


def test_a_server_that_does_not_come_up_costs_its_own_cells_only() -> None:
    diary = Diary()
    night = plan(("a", GOOD), ("dead", GOOD), rounds=2)
    run_night(night, diary.steps())
    assert diary.lines.count("measure a") == 4
    assert diary.missing == {
        cell.cell_id: "deployment_failed: died: exited with code 1"
        for cell in night.cells
        if cell.setup.server == "dead"
    }


def test_cells_of_an_export_that_computes_other_numbers_are_not_timed_but_shown() -> None:
    diary = Diary()
    night = plan(("a", GOOD), ("a", BROKEN))
    run_night(night, diary.steps())
    assert diary.lines.count("up a") == 1
    assert set(diary.missing.values()) == {"parity_failed: other numbers"}
    assert len(diary.missing) == 2


def test_an_exception_in_the_middle_still_takes_the_server_down() -> None:
    diary = Diary()

    def interrupt(subject: Subject, cell: Cell) -> None:
        raise KeyboardInterrupt

    diary.measure = interrupt  # type: ignore[method-assign]  # this one diary is interrupted
    with pytest.raises(KeyboardInterrupt):
        run_night(plan(("a", GOOD)), diary.steps())
    assert diary.lines[-1] == "down a"
