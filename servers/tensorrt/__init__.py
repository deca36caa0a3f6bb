"""TensorRT behind Triton's tensorrt backend. Written, not run: it needs a GPU and an image.

``trtexec`` builds the engine from the same ONNX file that every other server gets, on the GPU that will run it, in full
fp32; then the same process becomes Triton. Paths are the host's: the artifact's folder and the working directory are
mounted where they are. The build counts as part of the start.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from nightbench.model import Format, ModelSpec
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec, Stop
from servers.official import OFFICIAL
from servers.triton import SERVER as TRITON
from servers.triton.config import check_options
from servers.triton.layout import server_flags
from servers.triton.repository import lay_out, placed, version_of

__all__ = ["SERVER"]

_TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
_NOT_HERE = ("ensemble", "model_control_mode", "graph_level")


def command(request: ServeRequest) -> Command:
    """What the container runs."""
    model, max_batch = request.model, int(request.options["max_batch_size"])
    repository = request.workdir / "models"
    number = version_of(request.artifact.sha256)
    (one,) = placed(model, Format.TENSORRT, request.options, threads=request.threads, version=number, gpu=True)
    # Without its file, which is built there.
    (folder,) = lay_out(repository, (replace(one, filename=""),), request.artifact)
    start = request.workdir / "start.py"  # the image is another maker's
    shutil.copyfile(Path(__file__).with_name("start.py"), start)
    return Command(
        argv=(
            *("python3", "-I", "-u", str(start)),
            _TRTEXEC,
            f"--onnx={request.artifact.path}",
            f"--saveEngine={folder / str(number) / one.filename}",
            f"--minShapes={_shapes(model, 1)}",
            f"--optShapes={_shapes(model, max_batch)}",
            f"--maxShapes={_shapes(model, max_batch)}",
            "--noTF32",  # TensorFloat-32 is the default, and no fp32
            "--skipInference",
            "--",
            *("tritonserver", "--model-repository", str(repository)),
            *server_flags(request),
        )
    )


def _shapes(model: ModelSpec, batch: int) -> str:
    return ",".join(f"{tensor.name}:{'x'.join(map(str, (batch, *tensor.shape)))}" for tensor in model.inputs)


SERVER = ServerSpec(
    name="tensorrt",
    title="TensorRT (Triton)",
    folder=Path(__file__).parent,
    distribution="",
    formats=(Format.ONNX,),
    protocols={Protocol.KSERVE_HTTP: "http", Protocol.KSERVE_GRPC: "grpc"},
    command=command,
    image=OFFICIAL["triton"].ref,
    ports=TRITON.ports,
    options=(
        *(option for option in TRITON.options if option.name not in _NOT_HERE),
        Option("cuda_graphs", default=False, help="Whether kernels are launched as CUDA graphs. Not run yet."),
    ),
    check=check_options,
    batching=True,
    batch_proof=BatchProof(
        "nv_inference_count",
        "nv_inference_exec_count",
        {"dynamic_batching": True, "max_queue_delay_microseconds": 20_000},
    ),
    metrics=Metrics(port="metrics", path="/metrics"),
    ready_timeout_s=900.0,
    start_estimate_s=120.0,
    stop=Stop(signal="SIGTERM", grace_s=12.0),
    process=False,
    needs=("gpu",),
)
