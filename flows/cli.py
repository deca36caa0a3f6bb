"""The `nightbench` command.

Exit codes: 0 every planned cell was measured (doubted ones included); 1 nightbench itself failed; 2 what was asked
for cannot be done, and nothing was started; 3 the run completed but cells are missing; 130 cancelled; 143 terminated.
"""

import signal
import sys
from importlib.metadata import version
from typing import Final

from cyclopts import App, CycloptsError
from rich.console import Console

from nightbench.errors import NightbenchError

__all__ = ["COMMANDS", "app", "main"]

# Each verb is a file of its own, imported only when it is asked for: `nightbench --help` must not wait for Prefect.
COMMANDS: Final = {
    "run": "Run a suite: deploy, measure, store, report.",
    "sweep": "Load a server that is running already, whatever it serves, and say how it did.",
    "plan": "Print what a suite would measure, and for how long, without running anything.",
    "up": "Start the database and the Prefect server, or with --compose the whole stack in containers.",
    "down": "Stop what `up` started.",
    "deploy": "Put the nightly schedule and everything to be started by hand into Prefect.",
    "worker": "Do what is due on machines of this kind, one run at a time.",
    "history": "List the nights in the database.",
    "show": "Print one run's results.",
    "report": "Write one run's HTML report.",
    "compare": "Put two runs side by side, series by series.",
    "export-results": "Write one run's results as CSV, JSON, Parquet or PDF.",
    "judge": "Say which series changed: of a stored night, or night by night of anybody's CSV file.",
    "alerts": "List the alerts, or say what became of one.",
    "bisect": "Find which of the things that changed made a server slower.",
    "check": "Compare a run with the last good nights, or with another run, for CI.",
    "models": "List the models: formats, precisions, and how well each export agrees with PyTorch.",
    "export": "Export one model to one format.",
    "parity": "Compare an exported model with PyTorch.",
    "arena": "Answer the questions of Inference Arena from one run.",
    "images": "List the servers' images, build them, or find the newest digests of official ones.",
    "servers": "List the inference servers, and where each can run on this machine.",
    "envs": "List the servers' environments on this disk, or remove old ones.",
    "suites": "List the suites that come with nightbench.",
    "api": "Serve results, runs to start and Prometheus metrics over HTTP.",
    "api-keys": "List, make and revoke the keys of the HTTP API.",
    "ingest": "Bring spooled results into the database.",
    "doctor": "Say what this machine can run, and what to install for the rest.",
}

app = App(
    name="nightbench",
    # Ours to answer: an interrupted run says how it is resumed.
    suppress_keyboard_interrupt=False,
    version=lambda: version("nightbench"),
    help="Nightly benchmarks of ML inference servers whose numbers carry their doubts.",
)
for _verb, _help in COMMANDS.items():
    _name = _verb.replace("-", "_")
    app.command(f"flows.commands.{_name}:{_name}", name=_verb, help=_help)


def main() -> None:
    """The entry point: turns named failures into one sentence and an exit code."""
    # Unwind, so that every deployment is taken down, as for Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    errors = Console(stderr=True, highlight=False)
    try:
        app(exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(2)
    except KeyboardInterrupt:
        hint = "; `nightbench run --resume` does the rest" if sys.argv[1:2] == ["run"] else ""
        errors.print(f"nightbench: interrupted{hint}", markup=False)
        sys.exit(130)
    except NightbenchError as error:
        errors.print(f"nightbench: {error}", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
