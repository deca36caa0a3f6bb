"""`nightbench bisect`."""

import json
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from db import spool
from flows.commands.common import current_store
from flows.console import TerminalProgress, open_console, table
from flows.registry import load_catalog
from launch.reaper import reap
from nightbench.judge.night import Suspect
from nightbench.settings import Settings
from tasks.ab.bisect import Bisection
from tasks.ab.bisect import bisect as find
from tasks.ab.opening import reopened, suspect_of, worst_member
from tasks.ab.past import Past
from tasks.progress import Progress, Silent

__all__ = ["bisect"]


def bisect(alert: int, /, *, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """Find out which of the things that changed since the last good night makes a server slow.

    Last-good, with some of tonight's packages, code, options or artifact, is deployed in turn with last-good itself.

    Parameters
    ----------
    alert
        The number of an alert, as `nightbench alerts` lists them.
    as_json
        Print the result as JSON, and nothing else.
    """
    settings, console = Settings.from_environment(), open_console()
    quiet = Console(stderr=True, quiet=True) if as_json else console
    catalog = load_catalog(settings)
    reap()
    with current_store(settings, quiet) as store:
        raised = store.alert(alert)
        member, past = worst_member(raised), Past(store)
        with TerminalProgress(quiet) as terminal:
            progress: Progress = Silent() if as_json else terminal
            with reopened(raised.last_run_id, past, settings, catalog, progress) as session:
                suspect = suspect_of(member, past.night(raised.last_run_id), session.suite, catalog)
                written = session.spool.path
                try:
                    bisection = find(session, suspect, past, written.stem)
                finally:
                    store.ingest(spool.read(written).records)
    if as_json:
        console.print_json(json.dumps(_plain(alert, suspect, bisection)))
    else:
        _show(console, suspect, bisection)


def _plain(alert: int, suspect: Suspect, bisection: Bisection) -> dict[str, Any]:
    found, what = bisection.found, bisection.what
    return {
        "alert": alert,
        "series": suspect.label,
        "good_run_id": suspect.good_run_id,
        "culprits": list(found.culprits),
        "certain": found.certain,
        "changed": dict(what.changed),
        "unrestored": dict(what.unrestored),
        "tests": [
            {
                "factors": sorted(mixture.factors),
                "outcome": mixture.decided.outcome,
                "detail": mixture.decided.detail,
                "pairs": mixture.decided.pairs,
            }
            for mixture in bisection.mixtures
        ],
        "said": bisection.said,
    }


def _show(console: Console, suspect: Suspect, bisection: Bisection) -> None:
    rows = [
        {
            "as tonight": ", ".join(sorted(mixture.factors)),
            "against last-good": mixture.decided.outcome,
            "detail": mixture.decided.detail,
        }
        for mixture in bisection.mixtures
    ]
    console.print(table(f"{suspect.label}: last-good is {suspect.good_run_id}", rows))
    for name, words in bisection.what.unrestored.items():
        console.print(f"not changed back: {name}: {words}", markup=False)
    console.print(bisection.said, markup=False, soft_wrap=True)
