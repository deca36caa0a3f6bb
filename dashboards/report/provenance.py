"""Where a run's figures come from, and what to type to have them again."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from dashboards.report.told import Told
from nightbench.server import Protocol
from nightbench.summary import NightSummary

__all__ = ["Provenance", "provenance"]

_OURS = "suites"
"""The folder of the suites that come with nightbench."""


@dataclass(frozen=True, slots=True)
class Provenance:
    commands: str
    """Lines for a shell, in the order of typing."""
    note: str
    """What else it takes."""
    facts: Mapping[str, str]


def provenance(night: NightSummary, told: Told) -> Provenance:
    run = night.run
    context = run.context
    folder = context.get("suite_folder", "")
    ours = not folder or PurePath(folder).name == _OURS
    suite = run.suite if ours else f"{run.suite}.yaml"
    commands = [f"nightbench run {shlex.quote(suite)} --seed {run.seed}"]
    commit = context.get("git_sha", "")
    if commit and commit != "unknown":
        commands.insert(0, f"git checkout {shlex.quote(commit)} && make setup")
    notes = [] if ours else [f"The suite is printed below; save it as {suite} first."]
    if told.against is not None:
        commands.append(f"nightbench compare {shlex.quote(told.against.before.run.run_id)} last")
    launchers = {record.launcher for record in told.starts if not _in_process(record.server, night)}
    if len(launchers) == 1:
        way = launchers.pop()
        chosen = "found an engine" if way == "docker" else "found no engine, or no image for them"
        notes.append(f"Servers were launched by {way}: the suite says `launcher: {way}`, or says auto, which {chosen}.")
    facts = {"run": run.run_id, "seed": str(run.seed), "hardware": run.hardware, **dict(sorted(context.items()))}
    return Provenance("\n".join(commands), " ".join(notes), facts)


def _in_process(server: str, night: NightSummary) -> bool:
    return any(cell.server == server and cell.protocol is Protocol.IN_PROCESS for cell in night.cells)
