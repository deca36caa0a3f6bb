"""TorchScript behind LitServe.

All of serving is LitServe's own: its HTTP server process, its inference workers and the queues between them (each body
travels through a process of `multiprocessing.Manager`), and batching. ``serve.py`` fills in the hooks of a ``LitAPI``;
``decode_request`` asks FastAPI for the bare body of the request, which LitServe would otherwise read as JSON or a form.
LitServe has no metrics page: the two counters at ``/metrics`` are ours.
"""

import os
from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec, Stop
from servers.raw_http import serve_command

__all__ = ["SERVER"]

_SOCKET_PATH_BYTES = 107
_MANAGER_SOCKET = "/pymp-12345678/listener-12345678"


def command(request: ServeRequest) -> Command:
    names = ("max_batch_size", "batch_timeout", "workers_per_device")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(request.options[name]))]
    command = serve_command(request, SERVER.folder, flags)
    return Command(command.argv, {**command.env, **_temporary(request.workdir)})


def _temporary(workdir: Path) -> dict[str, str]:
    """The working directory for Python's Manager to keep its socket in, unless its path is too long for a socket's."""
    fits = len(os.fsencode(workdir)) + len(_MANAGER_SOCKET) <= _SOCKET_PATH_BYTES
    return {"TMPDIR": str(workdir)} if fits else {}


SERVER = ServerSpec(
    name="litserve",
    title="LitServe + TorchScript",
    folder=Path(__file__).parent,
    distribution="litserve",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    options=(
        Option(
            "max_batch_size",
            default=1,
            minimum=1,
            help="The most requests, whatever their own batch, that are joined into one; 1 joins none.",
        ),
        Option(
            "batch_timeout",
            default=0.0,
            minimum=0,
            help="Seconds that a worker collects requests for; 0 takes what is there, and polls without a pause. "
            "Acts with a max_batch_size above 1 only.",
        ),
        Option("workers_per_device", default=1, minimum=1, help="Worker processes, each with the model loaded."),
    ),
    batching=True,
    batch_proof=BatchProof("predict_inferences", "predict_executions", {"max_batch_size": 16, "batch_timeout": 0.02}),
    metrics=Metrics(port="http", path="/metrics"),
    start_estimate_s=6.0,
    # SIGTERM ends the first process only and leaves the others behind.
    stop=Stop(signal="SIGINT", grace_s=12.0),
)
