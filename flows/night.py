"""The order of a night, written once: Prefect runs it with its steps as tasks, offline runs and tests run it bare."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from launch.environment import Environment
from nightbench.errors import DeploymentError
from nightbench.ledger import Ledger
from nightbench.plan import Cell, Export, Plan, Replicate
from nightbench.server import Deployment
from tasks.export import Exported, Unusable
from tasks.judge import Judged
from tasks.missing import Why
from tasks.subject import Subject

__all__ = ["Steps", "run_night", "run_replicate"]


@dataclass(frozen=True, slots=True)
class Steps:
    """What a night is made of. Each step leaves its own records, failures included."""

    environment: Callable[[str], Environment | DeploymentError]
    export: Callable[[Collection[Export]], Mapping[Export, Exported | Unusable]]
    """All models in all their formats, before anything is timed."""
    benchmark: Callable[[Replicate, Exported, Environment | DeploymentError], None]
    """One deployment and its cells: `run_replicate`, perhaps dressed as a flow of its own."""
    deployed: Callable[
        [Replicate, Exported, Environment | DeploymentError],
        AbstractContextManager[Deployment | DeploymentError],
    ]
    calibrate: Callable[[Mapping[Export, Exported | Unusable]], None]
    """What the load engine itself can do tonight."""
    canary: Callable[[int], None]
    """Whether the machine is as fast as in the rounds before."""
    check: Callable[[Subject], None]
    """Whether what was deployed answers rightly; cells of which it does not are left out by ``measure``."""
    measure: Callable[[Subject, Cell], object]
    missing: Callable[[tuple[Cell, ...], Why, str], None]
    store: Callable[[], object]
    gate: Callable[[], object]
    """Whether the night hangs together, now that all of it is there."""
    judge: Callable[[], Judged | None]
    """What changed since the nights before; what looks changed is deployed and measured again, side by side."""
    notify: Callable[[Judged], object]
    """Tell people, last of all: the message names the report."""
    finish: Callable[[], None]
    report: Callable[[], Path | None]
    ledger: Ledger


def run_night(plan: Plan, steps: Steps) -> Path | None:
    """Everything in ``plan``, in order; returns the report, if one could be drawn.

    A failing step costs its own cells and no others.
    """
    servers = dict.fromkeys(replicate.setup.server for replicate in plan.replicates)
    environments = {server: steps.environment(server) for server in servers}
    exports = steps.export(plan.exports)
    steps.calibrate(exports)
    number = 0
    for replicate in plan.replicates:
        if replicate.round != number:
            number = replicate.round
            steps.canary(number)
        exported = exports[replicate.setup.export]
        with steps.ledger.unit("deployment"):
            if isinstance(exported, Unusable):
                why: Why = "parity_failed" if exported.parity else "export_failed"
                steps.missing(replicate.cells, why, exported.detail)
            else:
                steps.benchmark(replicate, exported, environments[replicate.setup.server])
            steps.store()
    steps.gate()
    steps.store()
    judged = steps.judge()
    steps.finish()
    report = steps.report()
    steps.store()
    if judged is not None:
        steps.notify(judged)
    return report


def run_replicate(
    steps: Steps, replicate: Replicate, exported: Exported, environment: Environment | DeploymentError
) -> None:
    """Deploy once, measure every cell on it, take it down."""
    with steps.deployed(replicate, exported, environment) as deployment:
        if isinstance(deployment, DeploymentError):
            steps.missing(replicate.cells, "deployment_failed", f"{deployment.kind}: {deployment.detail}")
            return
        subject = Subject(replicate, deployment, exported)
        steps.check(subject)
        for cell in replicate.cells:
            with steps.ledger.unit("cell"):
                steps.measure(subject, cell)
