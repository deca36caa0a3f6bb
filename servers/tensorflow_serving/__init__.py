"""TensorFlow Serving. Written, not run: it exists as an image only, in no package registry.

It serves a SavedModel whose signature ``serving_default`` bears the model's own tensor names. A stand-in that takes
this command line and runs this layout with TensorFlow itself is in `tests/servers/tf_standin.py`. Paths are the host's:
the working directory is mounted where it is. It listens on every address of its container; the ports are to be
published on loopback alone.
"""

import shutil
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.model import Format
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec
from servers.official import OFFICIAL
from servers.raw_http import thread_env
from servers.tensorflow_serving.settings import MONITORING, batching_parameters

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """What the container runs."""
    if not (request.artifact.path / "saved_model.pb").is_file():
        raise UsageError(f"TensorFlow Serving serves the folder of a SavedModel; {request.artifact.path} is none")
    base = request.workdir / "models" / request.model.name
    shutil.copytree(request.artifact.path, base / "1")
    monitoring = request.workdir / "monitoring.pbtxt"
    monitoring.write_text(MONITORING, encoding="utf-8")
    batching: tuple[str, ...] = ()
    if request.options["enable_batching"]:
        parameters = request.workdir / "batching.pbtxt"
        parameters.write_text(batching_parameters(request.options), encoding="utf-8")
        batching = ("--enable_batching=true", f"--batching_parameters_file={parameters}")
    return Command(
        argv=(
            "tensorflow_model_server",
            f"--port={request.ports['grpc']}",
            f"--rest_api_port={request.ports['http']}",
            f"--model_name={request.model.name}",
            f"--model_base_path={base}",
            f"--tensorflow_intra_op_parallelism={request.threads}",
            "--tensorflow_inter_op_parallelism=1",
            "--file_system_poll_wait_seconds=0",  # it would look for new versions in the middle of a measurement
            f"--monitoring_config_file={monitoring}",
            *batching,
        ),
        env={**thread_env(request.threads), "TF_CPP_MIN_LOG_LEVEL": "1"},
    )


SERVER = ServerSpec(
    name="tensorflow-serving",
    title="TensorFlow Serving",
    folder=Path(__file__).parent,
    distribution="",
    formats=(Format.SAVEDMODEL,),
    protocols={Protocol.TFSERVING_GRPC: "grpc", Protocol.TFSERVING_REST: "http"},
    command=command,
    image=OFFICIAL["tensorflow-serving"].ref,
    read_only=("models",),
    ports=("grpc", "http"),
    options=(
        Option("enable_batching", default=False, help="Join waiting requests into one batch."),
        Option("max_batch_size", default=32, minimum=1, help="The largest batch. Acts with enable_batching only."),
        Option(
            "batch_timeout_micros",
            default=0,
            minimum=0,
            help="How long a request may wait for company. Acts with enable_batching only.",
        ),
        Option(
            "num_batch_threads",
            default=1,
            minimum=1,
            help="Batches that run at the same time. Acts with enable_batching only.",
        ),
        Option(
            "max_enqueued_batches",
            default=100,
            minimum=1,
            help="Batches that wait before further requests are refused. Acts with enable_batching only.",
        ),
    ),
    batching=True,
    batch_proof=BatchProof(
        ":tensorflow:serving:request_count",
        ":tensorflow:serving:batching_session:wrapped_run_count",
        {"enable_batching": True, "batch_timeout_micros": 20_000},
    ),
    metrics=Metrics(port="http", path="/monitoring/prometheus/metrics"),
    start_estimate_s=3.0,
    process=False,
)
