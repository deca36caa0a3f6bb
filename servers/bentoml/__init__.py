"""TorchScript behind BentoML: one service, one API method, served by ``bentoml serve``.

All of serving is BentoML's own: the supervisor and its workers, the HTTP server, routing, its middleware (metrics,
tracing, timeouts), the thread that runs the model, adaptive batching, and Prometheus metrics at ``/metrics``. Ours is
what ``serve.py`` plugs into BentoML's extension points, because its own body formats are JSON and forms: how a body
becomes an array and an array a body (``input_spec`` and ``output_spec`` of the API method), and one ASGI middleware
that refuses a request by its headers.
"""

import json
import shutil
from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec, Stop
from servers.raw_http import signature, thread_env

__all__ = ["SERVER"]

_OPTIONS = ("workers", "threads", "batchable", "max_batch_size", "max_latency_ms")


def command(request: ServeRequest) -> Command:
    """Serve a copy of ``serve.py``: BentoML imports it by name from a folder that it may write to."""
    source = request.workdir / "source"
    source.mkdir()
    shutil.copyfile(SERVER.folder / "serve.py", source / "serve.py")
    described = request.workdir / "signature.json"
    described.write_text(json.dumps(signature(request.model)), encoding="utf-8")
    arguments = {
        "artifact": request.artifact.path,
        "signature": described,
        "model_threads": request.threads,
        "load_time": request.load_time_path,
        **{name: request.options[name] for name in _OPTIONS},
    }
    return Command(
        argv=(
            *(str(request.python), "-I", "-u", "-m", "bentoml", "serve", "--quiet", "serve:Predict"),
            *("--working-dir", str(source)),
            *("--host", request.host),
            *("--port", str(request.ports["http"])),
            *("--timeout-keep-alive", "600"),
            *("--timeout-graceful-shutdown", "2"),
            *(part for name, value in arguments.items() for part in ("--arg", f"{name}={value}")),
        ),
        env={
            **thread_env(request.threads),
            # As in BentoML's own images: the server ends with a worker that dies, and does not start it over and over.
            "BENTOML_CONTAINERIZED": "1",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(request.workdir / "home"),
            "TMPDIR": str(request.workdir),
        },
    )


SERVER = ServerSpec(
    name="bentoml",
    title="BentoML + TorchScript",
    folder=Path(__file__).parent,
    distribution="bentoml",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    options=(
        Option("workers", default=1, minimum=1, help="Worker processes, each with the model loaded."),
        Option(
            "threads",
            default=1,
            minimum=1,
            help="Predictions a worker runs at the same time, off the event loop; not the model's own threads.",
        ),
        Option("batchable", default=False, help="Adaptive batching: join waiting requests into one batch."),
        Option(
            "max_batch_size",
            default=32,
            minimum=2,
            help="The most batch items in one joined batch; a larger request is split. Acts with batchable only.",
        ),
        Option(
            "max_latency_ms",
            default=60_000,
            minimum=1,
            help="BentoML drops a request, with status 503, that it expects to take longer. Acts with batchable only.",
        ),
    ),
    batching=True,
    # A histogram of the requests in a call.
    batch_proof=BatchProof(
        "bentoml_service_adaptive_batch_size_sum",
        "bentoml_service_adaptive_batch_size_count",
        {"batchable": True},
    ),
    metrics=Metrics(port="http", path="/metrics"),
    start_estimate_s=6.0,
    stop=Stop(signal="SIGTERM", grace_s=10.0),
)
