"""Inference Arena's microservices: a gateway that detects, and a classifier behind gRPC, each a process of its own.

The gateway sends every crop as a call of its own, all at once. Messages are bare tensors, without protobuf: what a
generated stub would add is a copy.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Protocol, ServeRequest, ServerSpec, Stop
from servers.arena import JOIN_CROPS, check_model, fits, flags, supervised
from servers.raw_http import serve_command, thread_env

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    check_model(request.model)
    address = f"{request.host}:{request.ports['grpc']}"
    classifier = Command(
        argv=(
            *(str(request.python), "-I", "-u", str(SERVER.folder / "classifier.py")),
            *("--artifact", str(request.artifact.path)),
            *("--address", address),
            *("--threads", str(request.threads)),
            *("--load-time", str(request.load_time_path)),
        ),
        env=thread_env(request.threads),
    )
    gateway = serve_command(request, SERVER.folder, ("--classifier", address, *flags(request)))
    return supervised(request, (classifier, gateway))


SERVER = ServerSpec(
    name="arena_microservices",
    title="Arena: two services, gRPC",
    folder=Path(__file__).parent,
    distribution="onnxruntime",
    formats=(Format.STAGES,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    fits=fits,
    ports=("http", "grpc"),
    options=(JOIN_CROPS,),
    start_estimate_s=3.0,
    stop=Stop(signal="SIGTERM", grace_s=12.0),
)
